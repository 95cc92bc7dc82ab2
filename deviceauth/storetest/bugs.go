package storetest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// A Bug is a mistake that stores make, to be put on top of a good one: the
// suite is worth something only if it catches it there.
type Bug struct {
	Name string
	put  func(*broken)
}

// Bugs are mistakes that the suite catches on every store.
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

// A broken store is a good one with one mistake.
type broken struct {
	deviceauth.Storage
	create  func(context.Context, deviceauth.Storage, *deviceauth.Grant) error
	update  func(context.Context, deviceauth.Storage, deviceauth.ID, step) error
	get     func(context.Context, deviceauth.Storage, deviceauth.ID) (*deviceauth.Grant, error)
	byCode  func(context.Context, deviceauth.Storage, deviceauth.UserCode) (*deviceauth.Grant, error)
	byOwner func(context.Context, deviceauth.Storage, string) ([]*deviceauth.Grant, error)
	list    func(context.Context, deviceauth.Storage, string, int) ([]*deviceauth.Grant, string, error)
	change  func(context.Context, deviceauth.Storage, string, func([]byte) ([]byte, error)) error
}

type step = func(*deviceauth.Grant) error

func (b *broken) Create(ctx context.Context, g *deviceauth.Grant) error {
	if b.create != nil {
		return b.create(ctx, b.Storage, g)
	}
	return b.Storage.Create(ctx, g)
}

func (b *broken) Update(ctx context.Context, id deviceauth.ID, change func(*deviceauth.Grant) error) error {
	if b.update != nil {
		return b.update(ctx, b.Storage, id, change)
	}
	return b.Storage.Update(ctx, id, change)
}

func (b *broken) Get(ctx context.Context, id deviceauth.ID) (*deviceauth.Grant, error) {
	if b.get != nil {
		return b.get(ctx, b.Storage, id)
	}
	return b.Storage.Get(ctx, id)
}

func (b *broken) ByUserCode(ctx context.Context, code deviceauth.UserCode) (*deviceauth.Grant, error) {
	if b.byCode != nil {
		return b.byCode(ctx, b.Storage, code)
	}
	return b.Storage.ByUserCode(ctx, code)
}

func (b *broken) ByOwner(ctx context.Context, subject string) ([]*deviceauth.Grant, error) {
	if b.byOwner != nil {
		return b.byOwner(ctx, b.Storage, subject)
	}
	return b.Storage.ByOwner(ctx, subject)
}

func (b *broken) List(ctx context.Context, after string, limit int) ([]*deviceauth.Grant, string, error) {
	if b.list != nil {
		return b.list(ctx, b.Storage, after, limit)
	}
	return b.Storage.List(ctx, after, limit)
}

func (b *broken) UpdateDocument(ctx context.Context, name string, change func([]byte) ([]byte, error)) error {
	if b.change != nil {
		return b.change(ctx, b.Storage, name, change)
	}
	return b.Storage.UpdateDocument(ctx, name, change)
}

// write overwrites a grant, as a store without transactions would.
func write(ctx context.Context, s deviceauth.Storage, g *deviceauth.Grant) error {
	return s.Update(ctx, g.ID, func(stored *deviceauth.Grant) error { *stored = *g; return nil })
}

func givesUp(ctx context.Context, s deviceauth.Storage, id deviceauth.ID, change step) error {
	before, err := s.Get(ctx, id)
	if err != nil {
		return err
	}
	copied := *before
	if err := change(&copied); err != nil {
		return err
	}
	return s.Update(ctx, id, func(g *deviceauth.Grant) error {
		if g.Revision != before.Revision {
			return errors.New("conflict")
		}
		*g = copied
		return nil
	})
}

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

func savesAnyway(ctx context.Context, s deviceauth.Storage, id deviceauth.ID, change step) error {
	var verdict error
	err := s.Update(ctx, id, func(g *deviceauth.Grant) error { verdict = change(g); return nil })
	return errors.Join(err, verdict)
}

func wraps(ctx context.Context, s deviceauth.Storage, id deviceauth.ID, change step) error {
	return errors.Join(s.Update(ctx, id, change))
}

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

func allowsTwice(ctx context.Context, s deviceauth.Storage, g *deviceauth.Grant) error {
	other := *g
	other.UserCode += "X"
	if err := s.Create(ctx, &other); err != nil {
		return err
	}
	return write(ctx, s, g)
}

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

func changesTheCallers(ctx context.Context, s deviceauth.Storage, g *deviceauth.Grant) error {
	g.ClientID += "!"
	return s.Create(ctx, g)
}

func forgetsOne(ctx context.Context, s deviceauth.Storage, subject string) ([]*deviceauth.Grant, error) {
	list, err := s.ByOwner(ctx, subject)
	return list[:len(list)/2], err
}

func findsOthers() func(context.Context, deviceauth.Storage, string) ([]*deviceauth.Grant, error) {
	return func(ctx context.Context, s deviceauth.Storage, subject string) ([]*deviceauth.Grant, error) {
		list, err := s.ByOwner(ctx, subject)
		for _, longer := range []string{subject + "2", strings.TrimSuffix(subject, "2")} {
			more, _ := s.ByOwner(ctx, longer)
			list = append(list, more...)
		}
		return list, err
	}
}

func knowsNoSessions(ctx context.Context, s deviceauth.Storage, owner string) ([]*deviceauth.Grant, error) {
	if strings.HasPrefix(owner, "sid:") {
		return nil, nil
	}
	return s.ByOwner(ctx, owner)
}

func skipsTheLast(ctx context.Context, s deviceauth.Storage, after string,
	limit int) ([]*deviceauth.Grant, string, error) {
	list, next, err := s.List(ctx, after, limit)
	if next != "" && len(list) > 0 {
		list = list[:len(list)-1]
	}
	return list, next, err
}

func repeatsTheFirst(ctx context.Context, s deviceauth.Storage, after string,
	limit int) ([]*deviceauth.Grant, string, error) {
	list, next, err := s.List(ctx, after, limit)
	if len(list) > 0 {
		list = append(list, list[0])
	}
	return list, next, err
}

func forgivesNonsense(ctx context.Context, s deviceauth.Storage, after string,
	limit int) ([]*deviceauth.Grant, string, error) {
	list, next, err := s.List(ctx, after, limit)
	if errors.Is(err, deviceauth.ErrCursor) {
		return s.List(ctx, "", limit)
	}
	return list, next, err
}

func writesAlways(ctx context.Context, s deviceauth.Storage, name string, change func([]byte) ([]byte, error)) error {
	return s.UpdateDocument(ctx, name, func(old []byte) ([]byte, error) {
		document, err := change(old)
		if document == nil {
			document = []byte{}
		}
		return document, err
	})
}

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

func forgetsEarly(ctx context.Context, s deviceauth.Storage, id deviceauth.ID) (*deviceauth.Grant, error) {
	g, err := s.Get(ctx, id)
	if err == nil && time.Now().After(g.KeepUntil().Add(-2*time.Second)) {
		return nil, deviceauth.ErrNotFound
	}
	return g, err
}
