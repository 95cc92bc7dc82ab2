// Package badgerdb keeps an embedded Badger database alive and whole. It promises that the
// process never ends because of it, that nothing that was synced is lost without an error
// or a line in the log, that nothing is written where Badger would panic, and that a
// database that can only be helped by closing it is closed and opened again in service.
// What the keys and values mean it does not know. Package badgerstore calls it.
//
// Badger alone ends the process or loses records when a disk is full, when the process may
// open no more files, when a directory is gone, and when files are damaged.
package badgerdb

// Where to read:
//
//	badgerdb.go, open.go             the database: reading, writing, opening; Badger's settings
//	close.go, reopen.go              closing it, and opening it again in service
//	faults.go                        errors and panics after which Badger must not be used
//	dir.go, system_*.go              other users and other processes; what the system has left
//	damage.go, tables.go             damaged files, found before Badger reads them, since it
//	                                 would end the process
//	unlisted.go, wal.go              tables that the MANIFEST lacks, and what follows damage in
//	                                 a write-ahead log: Badger drops both without an error
//	space.go, files.go,              a disk that fills, a process that may open no file
//	preallocate*.go
//	compactions.go, hold.go,         a compaction that Badger takes for complete although it
//	kept.go                          is not
//	recovery.go, table_entries.go    writing back what one of these failures lost
//	tidy.go                          removing expired records
//	logger.go                        what Badger logs

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
)

// Options say where a database is, and what there is to know of its content.
type Options struct {
	Dir string // created if missing, and made private if other users can open it
	// Key encrypts what is on the disk: 32 bytes. nil: nothing is encrypted. It is for a new
	// directory: one that was begun without a key stays unencrypted.
	Key []byte
	// Prefixes are the first bytes of all keys that are written. A key that begins with
	// another one was written by Badger, by tidy.go, or was decrypted with a wrong key. The
	// bytes 0, 0xff and '!' are not for them. Required.
	Prefixes string
	// Opened reads what its caller keeps of the database in memory. It is called by Open, and
	// each time that the database has been opened again: what was not synced before may be
	// gone then. Nothing else uses the database meanwhile. nil: it is not called.
	Opened func(*badger.Txn) error
	Log    *slog.Logger // receives what Badger logs; nil: discarded
	// Secrets and Losses complete messages for the operator: what other users could read in
	// the files, and an example of what damage may lose.
	Secrets, Losses string
}

// isKey reports whether a key is one of the caller's, and not one of Badger's own.
func (o Options) isKey(key []byte) bool {
	return len(key) > 0 && strings.IndexByte(o.Prefixes, key[0]) >= 0
}

// isBadgers reports whether keys that begin with a byte are not the caller's: those of Badger
// itself, and those of tidy.go.
func isBadgers(first byte) bool { return first == '!' || first == 0 || first == 0xff }

// A DB is an open database. Its methods can be called concurrently. Errors of View, Update
// and Commit begin with "badger store:", and wrap those of Badger and of the functions that
// they call, except while the database is being opened again.
type DB struct {
	o           Options
	db          atomic.Pointer[badger.DB] // replaced by reopenLoop, under rotateMu and openMu
	lock        *os.File                  // locks Dir until it is closed; nil: Badger has the lock
	log         logger
	room        *space
	links       bool         // Dir's file system has hard links
	compactions *compactions // of db

	// rotateMu keeps Badger from switching to a new WAL between a commit and its sync, which
	// would sync only the new WAL. Commit locks it, and Update read-locks it.
	rotateMu sync.RWMutex
	unsynced bool // a sync has failed; guarded by rotateMu

	// writeMu is held for each write, since those under rotateMu.RLock may overlap. After
	// some errors Badger must not be written to again, so no write may be waiting behind
	// another one in Badger.
	writeMu  sync.Mutex
	prealloc preallocator // guarded by writeMu

	// openMu is read-locked while the database is used, and locked to close or replace it.
	openMu       sync.RWMutex
	closed       atomic.Bool   // readers are refused: it is being closed, or was given up
	ended        atomic.Bool   // writers are refused, too: the last write is done
	stop         chan struct{} // closed by Close; ends loops
	loops        sync.WaitGroup
	closeOnce    sync.Once
	broken       atomic.Pointer[error] // why Badger is not used until it has been reopened
	reopenNeeded chan struct{}         // wakes reopenLoop
}

// Open opens the database in a directory, and makes a new one in an empty directory. It
// locks the directory until Close. Its errors say what an operator can do; those that a
// caller may have to add to are [ErrInUse] and [DamageError].
func Open(o Options) (_ *DB, err error) {
	if strconv.IntSize < 64 {
		// Its allocator shifts an int too far once a table passes 4 MB.
		return nil, errors.New("badger loses data on 32-bit systems: use another store, or a 64-bit build")
	}
	if o.Prefixes == "" || slices.ContainsFunc([]byte(o.Prefixes), isBadgers) {
		return nil, errors.New("badgerdb: Prefixes: want the first bytes of all keys, none of which is 0, 0xff or '!'")
	}
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
	d := &DB{
		o: o, lock: lock, log: newLogger(o.Log), stop: make(chan struct{}),
		prealloc: preallocator{dir: o.Dir, allocate: preallocate}, reopenNeeded: make(chan struct{}, 1),
	}
	if d.room, err = newSpace(o.Dir, d.tableBytes); err != nil {
		return nil, err
	}
	// Check first for what would make Badger panic, or begin an empty database.
	if err := cmp.Or(d.room.requireFree(startReserve), d.room.tryFile(), o.checkManifest()); err != nil {
		return nil, err
	}
	d.links = canLink(o.Dir)
	if err := d.open(); err != nil {
		return nil, o.explain(err)
	}
	if err := checkPreallocation(); err != nil {
		d.log.log(slog.LevelWarn, "%v", err)
	}
	if err := d.room.enough(); err != nil {
		d.log.log(slog.LevelError, "%v", err)
	}
	d.loops.Go(d.tidyLoop)
	d.loops.Go(d.reopenLoop)
	return d, nil
}

// tableBytes returns the size of all tables. Badger's own Size is 0 without its metrics.
func (d *DB) tableBytes() (bytes int64) {
	for _, level := range d.db.Load().Levels() {
		bytes += level.Size
	}
	return bytes
}

// View runs fn in a read transaction. It keeps the database open meanwhile.
func (d *DB) View(fn func(*badger.Txn) error) error {
	if why := d.broken.Load(); why != nil {
		return *why
	}
	if d.closed.Load() { // a database that was given up may hold openMu
		return wrap(badger.ErrDBClosed)
	}
	d.openMu.RLock()
	defer d.openMu.RUnlock()
	if d.closed.Load() {
		return wrap(badger.ErrDBClosed)
	}
	err := catchPanics(func() error { return d.db.Load().View(fn) })
	if why := d.broken.Load(); why != nil && err != nil {
		return *why // the database broke during fn, perhaps by a panic
	}
	return wrap(err)
}

// Update runs write in a transaction and commits it without a sync: it survives the end of
// the process, and perhaps not that of the system. After a conflict it runs write again;
// Badger's own Update gives up. While nothing may be written, it returns the error of
// [DB.Writable].
func (d *DB) Update(write func(*badger.Txn) error) error {
	if err := d.Writable(); err != nil {
		return err
	}
	d.rotateMu.RLock()
	defer d.rotateMu.RUnlock()
	return d.writeExclusive(func() error {
		for {
			if err := d.db.Load().Update(write); !errors.Is(err, badger.ErrConflict) {
				return err
			}
		}
	})
}

// Commit is Update with a sync: when it returns nil, what write has changed is on the disk.
// After an error it is unknown whether it is. write returns whether it has changed anything. If not,
// there is nothing to commit and to sync, unless the sync of an earlier Commit failed:
// write may have read what that one wrote.
func (d *DB) Commit(write func(*badger.Txn) (changed bool, err error)) error {
	if err := d.Writable(); err != nil {
		return err
	}
	d.rotateMu.Lock()
	defer d.rotateMu.Unlock()
	return d.writeExclusive(func() error {
		changed, err := d.commit(write)
		for errors.Is(err, badger.ErrConflict) {
			changed, err = d.commit(write)
		}
		if err == nil && (changed || d.unsynced) {
			err = d.db.Load().Sync()
			d.unsynced = err != nil
		}
		return err
	})
}

// commit runs write in a transaction, and commits it if it has changed anything.
func (d *DB) commit(write func(*badger.Txn) (bool, error)) (changed bool, err error) {
	txn := d.db.Load().NewTransaction(true)
	defer txn.Discard()
	if changed, err = write(txn); err == nil && changed {
		err = txn.Commit()
	}
	return changed, err
}

// writeExclusive calls write, while no other write is running. rotateMu must be held.
func (d *DB) writeExclusive(write func() error) error {
	d.writeMu.Lock()
	defer d.writeMu.Unlock()
	if why := d.broken.Load(); why != nil {
		return *why
	}
	if d.ended.Load() {
		return wrap(badger.ErrDBClosed)
	}
	if err := d.prealloc.ensure(); err != nil {
		return err
	}
	err := catchPanics(write)
	if err == nil {
		d.compactions.renewSnapshot()
	}
	if fatal := d.checkBroken(err); fatal != err {
		return fatal
	}
	return wrap(err)
}

// wrap marks an error as the database's.
func wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("badger store: %w", err)
}
