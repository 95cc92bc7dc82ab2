// Package memstore stores grants in the memory of the process: for tests, for
// trying things out, and as a simple reference implementation of a
// [deviceauth.Store]. It makes no decisions.
package memstore

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/sweep"
)

// Store is a [deviceauth.Storage] in memory, which New returns. One lock
// guards everything: all operations take microseconds, and changes of grant
// and user code are atomic without further effort. Values are cloned on the
// way in and out, so that no caller shares memory with the store.
type Store struct {
	mu        sync.RWMutex
	grants    map[deviceauth.ID]*deviceauth.Grant
	codes     map[deviceauth.UserCode]deviceauth.ID
	documents map[string][]byte
	until     map[string]time.Time // of documents with a limited lifetime
	created   int                  // since the last sweep
}

var _ deviceauth.Storage = (*Store)(nil)

// New returns an empty store. It is safe for concurrent use, and has no
// resources that Close would have to release.
func New() *Store {
	return &Store{
		grants:    map[deviceauth.ID]*deviceauth.Grant{},
		codes:     map[deviceauth.UserCode]deviceauth.ID{},
		documents: map[string][]byte{},
		until:     map[string]time.Time{},
	}
}

// Create implements [deviceauth.Store]. The check and both writes are under
// one lock, so that a user code is unique among pending grants.
func (s *Store) Create(_ context.Context, g *deviceauth.Grant) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	// Expired grants are removed only here; without new grants the store does
	// not grow.
	s.sweep()
	if s.grants[g.ID] != nil || s.waiting(g.UserCode) != nil {
		return deviceauth.ErrExists
	}
	s.grants[g.ID] = clone(g)
	s.codes[g.UserCode] = g.ID
	return nil
}

// waiting returns the pending grant of a code. A code may refer to a grant
// that is decided, expired or replaced; such an entry counts as absent here
// and is deleted later, by Update or sweep.
func (s *Store) waiting(code deviceauth.UserCode) *deviceauth.Grant {
	g := s.grants[s.codes[code]]
	if g == nil || g.UserCode != code || !g.Open(time.Now()) {
		return nil
	}
	return g
}

// sweep removes expired grants. It runs once for as many new grants as there
// are stored ones, so that its amortized cost is constant.
func (s *Store) sweep() {
	if s.created++; s.created <= len(s.grants) {
		return
	}
	s.created = 0
	now := time.Now()
	for id, g := range s.grants {
		if now.After(g.KeepUntil()) {
			delete(s.grants, id)
		}
	}
	for code, id := range s.codes {
		if s.grants[id] == nil {
			delete(s.codes, code)
		}
	}
}

// Get implements [deviceauth.Store]. It returns a grant until sweep removes it,
// even after KeepUntil.
func (s *Store) Get(_ context.Context, id deviceauth.ID) (*deviceauth.Grant, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return found(s.grants[id])
}

// ByUserCode implements [deviceauth.Store].
func (s *Store) ByUserCode(_ context.Context, code deviceauth.UserCode) (*deviceauth.Grant, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return found(s.waiting(code))
}

// ByOwner implements [deviceauth.Store]. It examines all grants: an index
// would be one more thing to keep consistent, and a store in memory has few
// grants.
func (s *Store) ByOwner(_ context.Context, owner string) ([]*deviceauth.Grant, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var list []*deviceauth.Grant
	for _, g := range s.grants {
		if g.Person != nil && slices.Contains(g.Person.Owners(), owner) {
			list = append(list, clone(g))
		}
	}
	slices.SortFunc(list, func(a, b *deviceauth.Grant) int { return a.Created.Compare(b.Created) })
	return list, nil
}

// List implements [deviceauth.Store], in the order of ids. It examines all of
// them for every page, which takes about ten milliseconds for a million. The
// cursor is the last id of the page, so a grant that is deleted meanwhile has
// no effect.
func (s *Store) List(_ context.Context, after string, limit int) (list []*deviceauth.Grant, next string, err error) {
	var last deviceauth.ID
	if after != "" {
		if last, err = deviceauth.ParseID(after); err != nil {
			return nil, "", deviceauth.ErrCursor
		}
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	ids := s.following(last, after != "", max(limit, 1))
	for _, id := range ids {
		list = append(list, clone(s.grants[id]))
	}
	if len(ids) >= max(limit, 1) {
		next = ids[len(ids)-1].String()
	}
	return list, next, nil
}

// following returns the first n ids after last, or the first n of all if some
// is false. It keeps at most 4n ids in memory.
func (s *Store) following(last deviceauth.ID, some bool, n int) (ids []deviceauth.ID) {
	compare := func(a, b deviceauth.ID) int { return bytes.Compare(a[:], b[:]) }
	for id := range s.grants {
		if some && compare(id, last) <= 0 {
			continue
		}
		if ids = append(ids, id); len(ids) >= 4*n {
			slices.SortFunc(ids, compare)
			ids = ids[:n]
		}
	}
	slices.SortFunc(ids, compare)
	return ids[:min(n, len(ids))]
}

// Update implements [deviceauth.Store]. change gets a clone, and nothing is
// stored if it returns an error. A grant that is no longer pending releases
// its user code.
func (s *Store) Update(_ context.Context, id deviceauth.ID, change func(*deviceauth.Grant) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := found(s.grants[id])
	if err != nil {
		return err
	}
	if err := change(g); err != nil {
		return err
	}
	s.grants[id] = clone(g)
	if g.State != deviceauth.Pending && s.codes[g.UserCode] == id {
		delete(s.codes, g.UserCode)
	}
	return nil
}

// UpdateDocument implements [deviceauth.Documents]. change gets a copy, so
// that it cannot modify the stored document if it fails.
func (s *Store) UpdateDocument(_ context.Context, name string, change func([]byte) ([]byte, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(name)
	document, err := change(slices.Clone(s.documents[name]))
	if err == nil && document != nil {
		s.documents[name] = slices.Clone(document)
	}
	return err
}

// LoadDocument implements [deviceauth.Documents]. It takes the lock for writing,
// because it removes a document that has expired.
func (s *Store) LoadDocument(_ context.Context, name string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(name)
	return slices.Clone(s.documents[name]), nil
}

// PutDocument implements [deviceauth.Documents]. Every call removes a few
// expired documents, so that sessions of people who never return do not stay
// in memory.
func (s *Store) PutDocument(_ context.Context, name string, document []byte, until time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	sweep.AFew(s.until, func(other string, _ time.Time) bool { s.expire(other); return false })
	s.documents[name], s.until[name] = slices.Clone(document), until
	if document == nil {
		s.until[name] = time.Time{}
		s.expire(name)
	}
	return nil
}

// expire removes a document that has expired.
func (s *Store) expire(name string) {
	if until, limited := s.until[name]; limited && !time.Now().Before(until) {
		delete(s.documents, name)
		delete(s.until, name)
	}
}

// Close implements [deviceauth.Store]. It does not delete anything.
func (s *Store) Close() error { return nil }

// found returns a clone of a grant, or [deviceauth.ErrNotFound].
func found(g *deviceauth.Grant) (*deviceauth.Grant, error) {
	if g == nil {
		return nil, deviceauth.ErrNotFound
	}
	return clone(g), nil
}

// clone returns a copy. A shallow copy is enough, because methods of Grant
// replace its slices and maps and never modify them.
func clone(g *deviceauth.Grant) *deviceauth.Grant {
	c := *g
	return &c
}
