// Package badgerstore stores grants in an embedded Badger database: one process, one
// directory, no server. It makes no decisions about grants. It promises that a change is on
// the disk when Update or UpdateDocument returns. Grants that wait for a person are kept in
// memory and written later (write-behind), so that requesting a code and polling it cost no
// transaction.
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
//	badgerstore.go, options.go       opening a store, and the settings of Badger
//	lookup.go, list.go, cache.go     reading a grant
//	pending.go, pending_queue.go,    the grants that wait for a person: in memory,
//	compact_grant.go, bundle.go,     written many at a time
//	writebehind.go
//	commit.go, keys.go               a change that is on the disk before its answer
//	backup.go                        backup, restore
//	tidy.go, close.go                removing expired records; closing a store
//
// The rest handles failures of a disk, of a file system, or of Badger:
//
//	dir.go, lock_*.go                other users and other processes
//	damage.go, tables.go             damaged files, found before Badger reads them, since it
//	                                 would end the process
//	unlisted.go, wal.go              tables that the MANIFEST lacks, and what follows damage in
//	                                 a write-ahead log: Badger drops both without an error
//	space.go, files*.go,             a disk that fills, a process that may open no file
//	preallocate*.go, blocks_linux.go
//	faults.go, reopen.go             a store that is closed and opened again in service
//	compactions.go, hold.go,         a compaction that Badger takes for complete although it
//	kept.go                          is not
//	recovery.go, table_entries.go    writing back what one of these failures lost
//	logger.go                        what Badger logs

import (
	"cmp"
	"errors"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// Store is a [deviceauth.Storage] on disk. Open opens one.
type Store struct {
	db              atomic.Pointer[badger.DB]  // replaced by reopenLoop, under rotateMu and openMu
	openDB          func() (*badger.DB, error) // opens dir, also when the store is reopened
	openKeyRegistry func() (*badger.KeyRegistry, error)
	dir             string
	lock            *os.File // locks dir until it is closed; nil: Badger has the lock
	log             logger
	room            *space
	links           bool         // dir's file system has hard links
	compactions     *compactions // of db
	cache           *cache
	pending         *pendingGrants
	jobs            chan *job
	stop            chan struct{} // closed by Close; no job is accepted afterwards
	done            chan struct{} // closed when the committer has ended

	encrypted bool

	// rotateMu keeps Badger from switching to a new WAL between a promised commit and its
	// sync, which would sync only the new WAL. The committer locks it for changes, and
	// read-locks it for new grants.
	rotateMu sync.RWMutex
	unsynced bool // a sync has failed; used by the committer only

	// writeMu is held for each write, since those under rotateMu.RLock may overlap. After
	// some errors Badger must not be written to again, so no write may be waiting behind
	// another one in Badger.
	writeMu  sync.Mutex
	prealloc preallocator // guarded by writeMu

	// openMu is read-locked while the database is used, and locked to close or replace it.
	openMu       sync.RWMutex
	tidying      sync.WaitGroup
	closeOnce    sync.Once
	broken       atomic.Pointer[error] // why Badger is not used until it has been reopened
	reopenNeeded chan struct{}         // wakes reopenLoop
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
	if strconv.IntSize < 64 {
		// Its allocator shifts an int too far once a table passes 4 MB.
		return nil, errors.New("badger loses data on 32-bit systems: use another store, or a 64-bit build")
	}
	key, err := o.key()
	if err != nil {
		return nil, err
	}
	return openWith(o, key)
}

// openWith is Open with the key as bytes; nil: the store is not encrypted.
func openWith(o Options, key []byte) (_ *Store, err error) {
	if err := o.prepareDir(); err != nil {
		return nil, err
	}
	lock, err := o.lock()
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil && lock != nil {
			lock.Close()
		}
	}()
	// Check first for what would make Badger panic, or begin an empty database.
	there, err := dirPresence(o.Dir)
	if err != nil {
		return nil, err
	}
	room := &space{
		present: there, free: func() (uint64, error) { return freeSpace(o.Dir) }, total: diskSize(o.Dir),
		filesLeft: func() error { return checkFilesLeft(o.Dir) }, tryFile: func() error { return tryMakeFile(o.Dir) },
	}
	if err := cmp.Or(room.requireFree(startReserve), room.tryFile(), o.checkManifest()); err != nil {
		return nil, err
	}
	s := newStore(o, key, lock, room)
	if err := s.openFirst(o); err != nil {
		return nil, err
	}
	room.size = func() int64 { lsm, _ := s.db.Load().Size(); return lsm }
	if err := checkPreallocation(); err != nil {
		s.log.log(slog.LevelWarn, "%v", []any{err})
	}
	if err := room.enough(); err != nil {
		s.log.log(slog.LevelError, "%v", []any{err})
	}
	go s.commitJobs()
	s.tidying.Go(s.tidyLoop)
	s.tidying.Go(s.reopenLoop)
	return s, nil
}

// openFirst opens the database, and loads what earlier processes have left.
func (s *Store) openFirst(o Options) error {
	db, err := s.openDB()
	if err != nil {
		return o.explain(err)
	}
	s.db.Store(db)
	// Records of single grants are read on demand, bundles now.
	until, err := codesOnDisk(db)
	if err == nil {
		s.pending.noteCodesOnDisk(until)
		err = s.loadBundles(db)
	}
	if err != nil {
		return o.explain(errors.Join(err, catchPanics(db.Close)))
	}
	return nil
}

// newStore returns a store that is not open yet.
func newStore(o Options, key []byte, lock *os.File, room *space) *Store {
	s := &Store{
		dir: o.Dir, lock: lock, room: room, cache: newCache(), pending: newPendingGrants(), encrypted: key != nil,
		reopenNeeded: make(chan struct{}, 1), jobs: make(chan *job, maxBatch), stop: make(chan struct{}),
		done: make(chan struct{}),
	}
	s.links = canLink(o.Dir)
	s.prealloc = preallocator{dir: o.Dir, allocate: preallocate}
	s.log = newLogger(o.Log)
	s.openKeyRegistry = func() (*badger.KeyRegistry, error) { return o.openKeyRegistry(key) }
	s.openDB = func() (*badger.DB, error) { return s.open(o, key) }
	return s
}

// update retries a transaction until it has no conflict; Badger's own Update gives up at
// the first one.
func (s *Store) update(change func(*badger.Txn) error) error {
	for {
		err := s.writeExclusive(func() error { return s.db.Load().Update(change) })
		if !errors.Is(err, badger.ErrConflict) {
			return err
		}
	}
}

// writeExclusive calls write, while no other write is running.
func (s *Store) writeExclusive(write func() error) error {
	s.writeMu.Lock()
	defer s.writeMu.Unlock()
	if why := s.broken.Load(); why != nil {
		return *why
	}
	if err := s.prealloc.ensure(); err != nil {
		return err
	}
	err := catchPanics(write)
	if err == nil {
		s.compactions.renewSnapshot()
	}
	if fatal := s.checkBroken(err); fatal != err {
		return fatal
	}
	return wrap(err)
}

// view runs fn in a read transaction. It keeps the database open meanwhile.
func (s *Store) view(fn func(*badger.Txn) error) error {
	if why := s.broken.Load(); why != nil {
		return *why
	}
	s.openMu.RLock()
	defer s.openMu.RUnlock()
	select {
	case <-s.done: // flush may have failed to write a record that is missing now
		return wrap(badger.ErrDBClosed)
	default:
	}
	err := catchPanics(func() error { return s.db.Load().View(fn) })
	if why := s.broken.Load(); why != nil && err != nil {
		return *why // the store broke during fn, perhaps by a panic
	}
	return wrap(err)
}
