// Package badgerstore remembers grants in an embedded Badger database: one
// process, one directory, no server. It decides nothing about grants; what it
// promises is that what Update or UpdateDocument returned is on the disk. Grants
// that wait for a person are kept in memory and written behind, so that asking for a
// code and polling it cost no transaction.
//
// Keys:
//
//	g <id>            the grant, as JSON
//	p <id>            a bundle of pending grants, by the id of its first: see bundle.go
//	c <user code>     the id of the grant that waits for the code; empty: free
//	s <owner> <id>    nothing; a person's grants (the owner as a digest)
//	v <name>          a document of the store
//
// Everything but the store has a time to live. Badger counts that in whole
// seconds, so it is only for tidying up: the exact times are in the grant.
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
	openDB          func() (*badger.DB, error) // opens the directory once more
	openKeyRegistry func() (*badger.KeyRegistry, error)
	dir             string
	lock            *os.File // keeps other processes out, until it is closed; nil: Badger does
	log             logger
	room            *space
	links           bool         // a file can have a second name there
	compactions     *compactions // of db
	cache           *cache
	pending         *pendingGrants
	jobs            chan *job
	stop            chan struct{} // closed by Close; no job is taken afterwards
	done            chan struct{} // closed when the committer has ended

	encrypted bool

	// rotateMu keeps Badger from changing to a new log between a commit that is
	// promised and its sync, which would sync the new log only: the committer
	// holds it alone for changes, and shared for new grants.
	rotateMu sync.RWMutex
	unsynced bool // a commit whose sync failed; the committer's own

	// writeMu is held for each write of those that share rotateMu, so that none is
	// under way behind one after which Badger must not be asked to write.
	writeMu  sync.Mutex
	prealloc preallocator // under writeMu

	// openMu keeps the database open under those who look at it.
	openMu       sync.RWMutex
	tidying      sync.WaitGroup
	closeOnce    sync.Once
	broken       atomic.Pointer[error] // why Badger is not asked until it has been opened again
	reopenNeeded chan struct{}         // wakes reopenLoop
}

var (
	_ deviceauth.Storage  = (*Store)(nil)
	_ deviceauth.Recaller = (*Store)(nil)
	_ deviceauth.Admitter = (*Store)(nil)
)

// Open opens the database in a directory. An error says what an operator can do about it.
// The directory is this process's until Close; another one that opens it hears that it is
// in use.
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
	// What would make Badger panic, or begin an empty database, is looked for first.
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
	if err := room.enough(); err != nil {
		s.log.log(slog.LevelError, "%v", []any{err})
	}
	go s.commitJobs()
	s.tidying.Go(s.tidyLoop)
	s.tidying.Go(s.reopenLoop)
	return s, nil
}

// openFirst opens the database, and takes in what the processes before have left.
func (s *Store) openFirst(o Options) error {
	db, err := s.openDB()
	if err != nil {
		return o.explain(err)
	}
	s.db.Store(db)
	// Records of their own are read when they are asked for, bundles now.
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

// update runs a transaction until no other one gets in its way; Badger's own
// Update gives up at the first conflict.
func (s *Store) update(change func(*badger.Txn) error) error {
	for {
		err := s.writeExclusive(func() error { return s.db.Load().Update(change) })
		if !errors.Is(err, badger.ErrConflict) {
			return err
		}
	}
}

// writeExclusive writes, with nobody else writing beside it.
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
	if noted := s.checkBroken(err); noted != err {
		return noted
	}
	return wrap(err)
}

func (s *Store) view(look func(*badger.Txn) error) error {
	if why := s.broken.Load(); why != nil {
		return *why
	}
	s.openMu.RLock()
	defer s.openMu.RUnlock()
	select {
	case <-s.done: // a record that is missing now may be one that flush could not write
		return wrap(badger.ErrDBClosed)
	default:
	}
	err := catchPanics(func() error { return s.db.Load().View(look) })
	if why := s.broken.Load(); why != nil && err != nil {
		return *why // it broke under the look, which may have been a panic
	}
	return wrap(err)
}
