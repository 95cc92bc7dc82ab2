// Package badgerstore stores grants in an embedded Badger database: one process, one
// directory, no server. It makes no decisions about grants. It promises that a change is on
// the disk when Update or UpdateDocument returns. Grants that wait for a person are kept in
// memory and written later (write-behind), so that requesting a code and polling it cost no
// transaction. How the database survives full disks, damaged files and a hanging disk is
// not decided here but in package badgerdb.
//
// Keys:
//
//	g <id>            the grant, as JSON
//	p <id>            a bundle of pending grants, by the id of its first: see bundle.go
//	c <user code>     the id of the grant that waits for the code; empty: free
//	s <owner> <id>    nothing; a person's grants (the owner as a digest)
//	v <name>          a document of the store
//
// Everything has a time to live, except documents that are kept for ever. Badger counts it
// in whole seconds, so it only serves for cleaning up: the exact times are in the grant.
package badgerstore

// Where to read:
//
//	badgerstore.go, options.go       opening a store, and closing it
//	lookup.go, list.go, cache.go     reading a grant
//	pending.go, pending_queue.go,    the grants that wait for a person: in memory,
//	compact_grant.go, bundle.go,     written many at a time
//	writebehind.go
//	commit.go, keys.go               a change that is on the disk before its answer
//	backup.go                        backup, restore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/badgerdb"
)

// Store is a [deviceauth.Storage] on disk. Open opens one.
type Store struct {
	db      *badgerdb.DB
	log     *slog.Logger // nil: lines are discarded
	cache   *cache
	pending *pendingGrants
	loaded  bool // the bundles of earlier processes are in pending
	jobs    chan *job
	stop    chan struct{} // closed by Close; no job is accepted afterwards
	done    chan struct{} // closed when the committer has ended

	encrypted bool
}

var (
	_ deviceauth.Storage  = (*Store)(nil)
	_ deviceauth.Recaller = (*Store)(nil)
	_ deviceauth.Admitter = (*Store)(nil)
)

// Open opens the database in a directory. Its errors say what an operator can do. The
// directory is locked until Close: another process that opens it gets an error that says
// so.
func Open(o Options) (*Store, error) {
	key, err := o.key()
	if err != nil {
		return nil, err
	}
	s := &Store{
		log: o.Log, cache: newCache(), pending: newPendingGrants(), encrypted: key != nil,
		jobs: make(chan *job, maxBatch), stop: make(chan struct{}), done: make(chan struct{}),
	}
	database := o.database(key)
	database.Opened = s.opened
	if s.db, err = badgerdb.Open(database); err != nil {
		return nil, advise(err)
	}
	go s.commitJobs()
	return s, nil
}

// opened loads what earlier processes have left, and notes what is only on the disk. It is
// called again when the database has been reopened.
func (s *Store) opened(txn *badger.Txn) error {
	s.cache.clear()
	s.pending.noteCodesOnDisk(lastCodeOnDisk(txn))
	if s.loaded {
		return nil
	}
	// Records of single grants are read on demand, bundles now.
	s.loaded = true
	return s.loadBundles(txn)
}

// advise adds to an error of opening the database what an operator of a gateway can do.
func advise(err error) error {
	if errors.Is(err, badgerdb.ErrInUse) {
		return fmt.Errorf("%w; several gateways need a store that can be shared", err)
	}
	if _, damaged := errors.AsType[*badgerdb.DamageError](err); damaged {
		return fmt.Errorf("%w: move the directory away and bring the last backup back with caddy device-auth restore; "+
			"docs/troubleshooting.md says more", err)
	}
	return err
}

// view runs fn in a read transaction. [deviceauth.ErrNotFound] is returned as it is, since
// the contract of the store names it.
func (s *Store) view(fn func(*badger.Txn) error) error {
	err := s.db.View(fn)
	if errors.Is(err, deviceauth.ErrNotFound) {
		return deviceauth.ErrNotFound
	}
	return err
}

// errClosed is the error of a change after Close.
var errClosed = fmt.Errorf("badger store: %w", badger.ErrDBClosed)

// closeTime is how long Close waits.
const closeTime = 3 * time.Second

// Close implements [deviceauth.Store]. It takes 3 s at most: a store that does not close in
// that time is given up, with an error and a line in the log.
func (s *Store) Close() error { return s.closeWithin(closeTime) }

// closeWithin is Close with another limit; 0, for a command such as restore: it takes as
// long as it takes. The committer writes the pending grants before the database is closed.
func (s *Store) closeWithin(limit time.Duration) error {
	err := s.db.Close(limit, func() { close(s.stop); <-s.done })
	select {
	case <-s.done:
		s.pending.drop()
	default: // given up, while the committer is still writing
	}
	return err
}

// logError logs a line, marked as those of the database are.
func (s *Store) logError(format string, args ...any) {
	if s.log != nil {
		s.log.Log(context.Background(), slog.LevelError, "badger: "+fmt.Sprintf(format, args...))
	}
}
