package deviceauth

import (
	"context"
	"errors"
	"time"
)

// Errors of a store that are not faults.
var (
	ErrNotFound = errors.New("not found")
	ErrExists   = errors.New("already exists")
	ErrCursor   = errors.New("no place to go on listing from")
)

// A Store stores grants. Everything that must be atomic is within one record, so
// these methods are all that a store must provide. Package storetest tests the
// contract.
//
// A grant that is passed to or returned by a store is a value: the store keeps no
// pointer to the caller's grant, and the caller owns what the store returns. The
// values inside (Person, Audience, Claims) are never modified in place.
type Store interface {
	// Create adds a grant. It returns ErrExists if a pending grant has its id or its
	// user code. (Ids are 128 random bits: no other grant has the same.) The id of a
	// grant with a Redirect stays taken after the grant was decided, because its page
	// may be submitted again. A pending grant that was just created may be lost if
	// the process is killed or the power fails: its device starts again. It survives
	// Close, and every later call sees it.
	Create(ctx context.Context, g *Grant) error
	// Get returns the grant, or ErrNotFound. If several gateways share a store, Get
	// may return a state that is up to a second old. The grant that Update passes to
	// change is always current.
	Get(ctx context.Context, id ID) (*Grant, error)
	// ByUserCode returns the pending grant with the user code. It returns ErrNotFound
	// if there is none or if the grant has been decided.
	ByUserCode(ctx context.Context, code UserCode) (*Grant, error)
	// ByOwner returns the grants that a person has approved, in any state, ordered by
	// their creation. owner may be any of [Person.Owners].
	ByOwner(ctx context.Context, owner string) ([]*Grant, error)
	// List returns grants page by page, in no particular order: after is "" for the
	// first page, and then the next of the previous page; next is "" on the last
	// page. limit is the approximate size of a page: there may be fewer grants, even
	// none, and a few more. A grant that exists during the whole listing is in at
	// least one page. It may be in two, but never twice in one page. ErrCursor means
	// that after is not the next of a page, or that the store has changed so that the
	// listing cannot continue from there.
	List(ctx context.Context, after string, limit int) (grants []*Grant, next string, err error)
	// Update changes a grant atomically: no other change happens between the state
	// that change receives and the one that is stored. It may call change several
	// times. If change returns an error, nothing is stored and Update returns that
	// error unchanged. When Update returns nil, the change is on disk.
	Update(ctx context.Context, id ID, change func(*Grant) error) error
	// Close waits for calls in progress and releases the resources of the store.
	Close() error
}

// A Recaller is a [Store] that caches some grants in memory, with a state that is
// never older than what Get returns.
type Recaller interface {
	// Recall returns what Get would return, but without disk or network access. nil
	// means that Get must be called.
	Recall(id ID) *Grant
}

// An Admitter is a [Store] that accepts most new grants into memory.
type Admitter interface {
	// Admit does what Create does, if that is possible without disk or network access
	// and without waiting. done is false if Create must be called.
	Admit(g *Grant) (done bool, err error)
}

// Documents store small documents that all gateways of an issuer share: a few
// permanent ones, such as its signing keys, and many temporary ones, such as the
// sessions of people.
type Documents interface {
	// UpdateDocument atomically replaces a document by the result of change; old is
	// nil if there is no document. It may call change several times. If change
	// returns old, the document is kept without a write. An error of change also
	// keeps it, and is returned unchanged.
	UpdateDocument(ctx context.Context, name string, change func(old []byte) ([]byte, error)) error
	// LoadDocument returns the current document, or nil if there is none.
	LoadDocument(ctx context.Context, name string) ([]byte, error)
	// PutDocument stores a document until a time, and replaces an existing one. A nil
	// document is deleted at once. What it stores need not survive a power failure.
	PutDocument(ctx context.Context, name string, document []byte, until time.Time) error
}

// A Storage is a store of grants and of shared documents.
type Storage interface {
	Store
	Documents
}
