package deviceauth

import (
	"context"
	"errors"
	"time"
)

// What a store says beside its faults.
var (
	ErrNotFound = errors.New("not found")
	ErrExists   = errors.New("already exists")
	ErrCursor   = errors.New("no place to go on listing from")
)

// A Store remembers grants. All that must be atomic is inside one record, so
// this is all that is asked of it. Package storetest says it in tests.
//
// A grant handed to or by a store is a value: the store keeps no pointer to
// the caller's, and what it returns is the caller's own. The values inside
// (Person, Audience, Claims) are never changed in place.
type Store interface {
	// Create adds a grant. ErrExists: its id or its user code is taken by a
	// grant that still waits. (Ids are 128 random bits: no other one has it.)
	// The id of a grant with a Redirect is taken for ever: its page may be posted
	// again after the grant was decided.
	// A pending grant just created need not survive the end of the process by
	// a power loss or kill -9: its device asks again. It survives Close, and
	// from then on it is what every call finds.
	Create(ctx context.Context, g *Grant) error
	// Get returns the grant, or ErrNotFound. Where gateways share a store it
	// may be behind what another of them did, by a second at most; what change
	// of Update sees never is.
	Get(ctx context.Context, id ID) (*Grant, error)
	// ByUserCode returns the pending grant that waits for the code, or
	// ErrNotFound: also when it has been decided.
	ByUserCode(ctx context.Context, code UserCode) (*Grant, error)
	// ByOwner returns the approved grants of a person, whatever became of
	// them, in the order of their creation. The person may be named by any of
	// [Person.Owners].
	ByOwner(ctx context.Context, owner string) ([]*Grant, error)
	// List returns grants page by page, in no order: after is "" for the first
	// page, and then the next of the page before; the last page has none. limit
	// is about how many grants a page has: there may be fewer, even none, and a
	// few more. A grant that is there from the first page to the last is in one
	// of them. It may be in two, but never in one page twice. ErrCursor: after is
	// no page's next, or the store has changed so that nobody can go on from it.
	List(ctx context.Context, after string, limit int) (grants []*Grant, next string, err error)
	// Update changes a grant atomically: no other change comes between what
	// change sees and what is kept. It may run change again. When change
	// fails, nothing is kept and its error is returned as it is. When Update
	// returns nil the change has reached the disk.
	Update(ctx context.Context, id ID, change func(*Grant) error) error
	// Close waits for calls under way and releases what the store holds.
	Close() error
}

// A Recaller is a [Store] that has some grants in memory, where they are never behind
// what Get returns.
type Recaller interface {
	// Recall returns what Get would, without asking a disk or a network; nil: only
	// Get knows.
	Recall(id ID) *Grant
}

// An Admitter is a [Store] that takes most new grants into memory.
type Admitter interface {
	// Admit does what Create would, where that asks no disk and no network and waits
	// for neither; done is false where only Create can.
	Admit(g *Grant) (done bool, err error)
}

// Documents remember small documents that all gateways of one issuer share: a
// few for ever, such as its signing keys, and many for a while, such as the
// sessions of people.
type Documents interface {
	// UpdateDocument replaces a document atomically by what change makes of it; old
	// is nil where there is none yet. It may run change again. Returning old keeps the
	// document as it is, and costs a read. An error of change keeps it too, and is
	// returned as it is.
	UpdateDocument(ctx context.Context, name string, change func(old []byte) ([]byte, error)) error
	// LoadDocument returns a document as it is, or nil where there is none.
	LoadDocument(ctx context.Context, name string) ([]byte, error)
	// PutDocument stores a document over what there was, until a time: after that
	// there is none. A document of nil is forgotten at once. What is stored need not
	// survive a power loss.
	PutDocument(ctx context.Context, name string, document []byte, until time.Time) error
}

// A Storage is a store of grants and of shared documents.
type Storage interface {
	Store
	Documents
}
