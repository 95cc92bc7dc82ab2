package storetest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// A Bug is a typical mistake of a store, which is added to a correct one: the suite
// is useful only if it finds the bug there. A Bug wraps the store that is tested, so
// it has the same latency and transactions and differs only in the mistake.
type Bug struct {
	Name string
	put  func(*broken)
}

// Bugs are mistakes that the suite must find with every store. Each violates one
// sentence of the contract, as a careless implementation might. RunBugs shows that at
// least one check finds each of them.
var Bugs = []Bug{
	{Name: "a conflict is not tried again", put: func(b *broken) { b.update = givesUp }},
	{Name: "an update is lost", put: func(b *broken) { b.update = overwrites }},
	{Name: "a change is saved despite its error", put: func(b *broken) { b.update = savesAnyway }},
	{Name: "the error of a change is wrapped", put: func(b *broken) { b.update = wraps }},
	{Name: "a code is never free again", put: func(b *broken) { b.create = remembersCodes() }},
	{Name: "a code may be taken twice", put: func(b *broken) { b.create = allowsTwice }},
	{Name: "a decided grant is found by its code", put: func(b *broken) { b.byCode = findsForEver() }},
	{Name: "the caller's grant is changed", put: func(b *broken) { b.create = changesTheCallers }},
	{Name: "a person's grant is forgotten", put: func(b *broken) { b.byOwner = forgetsOne }},
	{Name: "another person's grants are found", put: func(b *broken) { b.byOwner = findsOthers() }},
	{Name: "sessions have no grants", put: func(b *broken) { b.byOwner = knowsNoSessions }},
	{Name: "the last grant of a page is skipped", put: func(b *broken) { b.list = skipsTheLast }},
	{Name: "a grant is twice in a page", put: func(b *broken) { b.list = repeatsTheFirst }},
	{Name: "a listing begins anew after nonsense", put: func(b *broken) { b.list = forgivesNonsense }},
	{Name: "a look makes a document", put: func(b *broken) { b.change = writesAlways }},
	{Name: "a document loses a change", put: func(b *broken) { b.change = readsThenWrites }},
	{Name: "a record is forgotten too early", put: func(b *broken) { b.get = forgetsEarly }},
}

// write overwrites a grant, as a store without transactions would. It uses Update to
// avoid the checks in Create.
func write(ctx context.Context, s deviceauth.Storage, g *deviceauth.Grant) error {
	return s.Update(ctx, g.ID, func(stored *deviceauth.Grant) error { *stored = *g; return nil })
}

// givesUp is an optimistic update without a retry: the second of two concurrent
// updates of a grant fails, although the contract requires that it is applied to
// the newer record.
func givesUp(ctx context.Context, s deviceauth.Storage, id deviceauth.ID, change step) error {
	before, err := s.Get(ctx, id)
	if err != nil {
		return err
	}
	copied := *before
	if err := change(&copied); err != nil {
		return err
	}
	// Revision takes the place of the version that a store without transactions would
	// compare.
	return s.Update(ctx, id, func(g *deviceauth.Grant) error {
		if g.Revision != before.Revision {
			return errors.New("conflict")
		}
		*g = copied
		return nil
	})
}

// overwrites reads, changes and writes in three steps, so that the later of two
// concurrent updates erases the earlier.
func overwrites(ctx context.Context, s deviceauth.Storage, id deviceauth.ID, change step) error {
	g, err := s.Get(ctx, id)
	if err != nil {
		return err
	}
	if err := change(g); err != nil {
		return err
	}
	return write(ctx, s, g)
}

// savesAnyway ignores the error of a change function. A transition that refuses must
// leave the record unchanged; this one stores what the change function had written
// before it returned its error.
func savesAnyway(ctx context.Context, s deviceauth.Storage, id deviceauth.ID, change step) error {
	var verdict error
	err := s.Update(ctx, id, func(g *deviceauth.Grant) error { verdict = change(g); return nil })
	return errors.Join(err, verdict)
}

// wraps wraps the error of a change function. The engine compares that error with ==,
// since it is the engine's own and not a fault of the store.
func wraps(ctx context.Context, s deviceauth.Storage, id deviceauth.ID, change step) error {
	return errors.Join(s.Update(ctx, id, change))
}

// remembersCodes keeps a user code reserved after the grant is decided, so that every
// login reduces the number of free codes (RFC 8628 §5.1).
func remembersCodes() func(context.Context, deviceauth.Storage, *deviceauth.Grant) error {
	taken := map[deviceauth.UserCode]bool{}
	var mu sync.Mutex
	return func(ctx context.Context, s deviceauth.Storage, g *deviceauth.Grant) error {
		mu.Lock()
		defer mu.Unlock()
		if taken[g.UserCode] {
			return deviceauth.ErrExists
		}
		taken[g.UserCode] = true
		return s.Create(ctx, g)
	}
}

// allowsTwice creates the grant with another code and then changes it, so that the
// uniqueness of pending user codes is not checked. If two devices had the same code,
// a person could approve the wrong one.
func allowsTwice(ctx context.Context, s deviceauth.Storage, g *deviceauth.Grant) error {
	// The write below removes the suffix again, without a check for uniqueness.
	other := *g
	other.UserCode += "X"
	if err := s.Create(ctx, &other); err != nil {
		return err
	}
	return write(ctx, s, g)
}

// findsForEver returns a cached grant after its decision: the page would offer a used
// code again.
func findsForEver() func(context.Context, deviceauth.Storage, deviceauth.UserCode) (*deviceauth.Grant, error) {
	var seen sync.Map
	return func(ctx context.Context, s deviceauth.Storage, code deviceauth.UserCode) (*deviceauth.Grant, error) {
		g, err := s.ByUserCode(ctx, code)
		if err == nil {
			seen.Store(code, g)
		}
		if g, ok := seen.Load(code); ok {
			return g.(*deviceauth.Grant), nil
		}
		return nil, err
	}
}

// changesTheCallers modifies the caller's grant.
func changesTheCallers(ctx context.Context, s deviceauth.Storage, g *deviceauth.Grant) error {
	g.ClientID += "!"
	return s.Create(ctx, g)
}

// forgetsOne returns half of the list, like a store whose index lags behind its
// records.
func forgetsOne(ctx context.Context, s deviceauth.Storage, subject string) ([]*deviceauth.Grant, error) {
	list, err := s.ByOwner(ctx, subject)
	return list[:len(list)/2], err
}

// findsOthers compares subjects by prefix, a common mistake with keys that are joined
// without a separator: work|1 then also finds work|12.
func findsOthers() func(context.Context, deviceauth.Storage, string) ([]*deviceauth.Grant, error) {
	return func(ctx context.Context, s deviceauth.Storage, subject string) ([]*deviceauth.Grant, error) {
		list, err := s.ByOwner(ctx, subject)
		// Only subjects that end in 2 collide, such as those of the check.
		for _, longer := range []string{subject + "2", strings.TrimSuffix(subject, "2")} {
			more, _ := s.ByOwner(ctx, longer)
			list = append(list, more...)
		}
		return list, err
	}
}

// knowsNoSessions ignores the key of a session (sid:…), so that a back-channel logout
// of one session (OpenID Connect Back-Channel Logout §2.7) would end nothing.
func knowsNoSessions(ctx context.Context, s deviceauth.Storage, owner string) ([]*deviceauth.Grant, error) {
	if strings.HasPrefix(owner, "sid:") {
		return nil, nil
	}
	return s.ByOwner(ctx, owner)
}

// skipsTheLast omits the last grant of a page, like a cursor that points past it.
func skipsTheLast(ctx context.Context, s deviceauth.Storage, after string,
	limit int) ([]*deviceauth.Grant, string, error) {
	list, next, err := s.List(ctx, after, limit)
	if next != "" && len(list) > 0 {
		list = list[:len(list)-1]
	}
	return list, next, err
}

// repeatsTheFirst appends the first grant of a page again. A grant may be repeated on
// a later page, but not on the same one.
func repeatsTheFirst(ctx context.Context, s deviceauth.Storage, after string,
	limit int) ([]*deviceauth.Grant, string, error) {
	list, next, err := s.List(ctx, after, limit)
	if len(list) > 0 {
		list = append(list, list[0])
	}
	return list, next, err
}

// forgivesNonsense treats an unknown cursor as none. An unknown cursor must be an
// error: a client that follows cursors would loop for ever if the listing started
// over.
func forgivesNonsense(ctx context.Context, s deviceauth.Storage, after string,
	limit int) ([]*deviceauth.Grant, string, error) {
	list, next, err := s.List(ctx, after, limit)
	if errors.Is(err, deviceauth.ErrCursor) {
		return s.List(ctx, "", limit)
	}
	return list, next, err
}

// writesAlways stores an empty document when change returns nil, which must leave the
// document absent.
func writesAlways(ctx context.Context, s deviceauth.Storage, name string, change func([]byte) ([]byte, error)) error {
	return s.UpdateDocument(ctx, name, func(old []byte) ([]byte, error) {
		document, err := change(old)
		// An absent document differs from an empty one.
		if document == nil {
			document = []byte{}
		}
		return document, err
	})
}

// readsThenWrites is overwrites for documents: a signing key that another gateway has
// just added would be lost.
func readsThenWrites(ctx context.Context, s deviceauth.Storage, name string,
	change func([]byte) ([]byte, error)) error {
	var old []byte
	if err := s.UpdateDocument(ctx, name,
		func(stored []byte) ([]byte, error) { old = stored; return stored, nil }); err != nil {
		return err
	}
	document, err := change(old)
	if err != nil {
		return err
	}
	return s.UpdateDocument(ctx, name, func([]byte) ([]byte, error) { return document, nil })
}

// forgetsEarly deletes a grant two seconds before KeepUntil. Until KeepUntil a
// replayed refresh token must be recognized (RFC 9700 §4.14.2).
func forgetsEarly(ctx context.Context, s deviceauth.Storage, id deviceauth.ID) (*deviceauth.Grant, error) {
	g, err := s.Get(ctx, id)
	if err == nil && time.Now().After(g.KeepUntil().Add(-2*time.Second)) {
		return nil, deviceauth.ErrNotFound
	}
	return g, err
}
