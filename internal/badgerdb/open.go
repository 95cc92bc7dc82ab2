package badgerdb

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// badger returns Badger's own options. Its files are small: Badger's defaults are for
// databases of many gigabytes, and a gateway's has some megabytes.
func (o Options) badger(log logger) badger.Options {
	b := badger.DefaultOptions(o.Dir).
		WithMemTableSize(memTable).
		WithNumMemtables(2).
		WithValueLogFileSize(valueLog).
		WithCompression(options.None). // records are small, or random
		WithBlockCacheSize(0).         // of use only with compression or encryption
		WithCompactL0OnClose(true).
		WithMetricsEnabled(false).
		WithBypassLockGuard(ownLock).
		WithLogger(log)
	if o.Key != nil {
		b = b.WithEncryptionKey(o.Key).WithBlockCacheSize(16 << 20).WithIndexCacheSize(16 << 20)
	}
	return b
}

// Sizes of Badger's files in bytes. A memtable takes as much memory, and twice that while
// one is flushed to a table. A transaction may use a sixth of it at most.
const (
	memTable = 8 << 20
	valueLog = 16 << 20
)

// open opens the database, and watches its compactions. It is called by Open and by
// reopenLoop, while nothing else uses the database.
func (d *DB) open() error {
	if err := d.prepare(); err != nil {
		return err
	}
	log, compactions := d.log, newCompactions(d)
	log.compactions = compactions
	d.log.flushFailedAt.Store(0)
	var db *badger.DB
	err := catchPanics(func() (err error) {
		db, err = badger.Open(d.o.badger(log))
		return err
	})
	if err != nil {
		compactions.start(nil)
		return err
	}
	compactions.start(db)
	if d.o.Opened != nil {
		err = catchPanics(func() error { return db.View(d.o.Opened) })
	}
	if err != nil {
		compactions.prepareClose()
		unclosed := catchPanics(db.Close)
		if isPanic(unclosed) { // a part of it may still run
			return fmt.Errorf("%w: %w", errNotClosed, errors.Join(err, unclosed))
		}
		return errors.Join(err, unclosed)
	}
	d.writeMu.Lock()
	d.prealloc.next = 0
	d.writeMu.Unlock()
	d.compactions = compactions
	d.db.Store(db)
	return nil
}

// errNotClosed says that this process must not open the directory again.
var errNotClosed = errors.New("the database does not close")

// prepare is called before Badger opens the directory, which is locked. It verifies the
// files that Badger would panic at or drop, removes those that a crash left empty, and
// writes back what was kept.
func (d *DB) prepare() error {
	if ownLock {
		if err := cmp.Or(removeEmptyLogs(d.o.Dir), renameKept(d.o.Dir)); err != nil {
			return err
		}
	}
	if err := catchPanics(d.o.checkFiles); err != nil {
		return err
	}
	return d.recoverKept()
}

// openKeyRegistry opens the registry of the data keys. Key decrypts them; if the database
// is not encrypted, the registry is empty. The caller closes the registry.
func (o Options) openKeyRegistry() (*badger.KeyRegistry, error) {
	return badger.OpenKeyRegistry(badger.KeyRegistryOptions{Dir: o.Dir, ReadOnly: true, EncryptionKey: o.Key})
}

// Rekey encrypts the data keys of a closed database with another key than the Key of its
// options. The data itself stays as it is, so a leaked old key still decrypts an old copy
// of the directory.
func Rekey(o Options, key []byte) error {
	for _, file := range []string{badger.ManifestFilename, badger.KeyRegistryFileName} {
		if _, err := os.Stat(filepath.Join(o.Dir, file)); err != nil {
			return fmt.Errorf("badger store: there is no store in %s: %w", o.Dir, err)
		}
	}
	d, err := Open(o) // takes the lock, and verifies the key
	if err != nil {
		return err
	}
	if err := d.Close(0, nil); err != nil {
		return err
	}
	registry, err := o.openKeyRegistry()
	if err != nil {
		return fmt.Errorf("badger store: reading the keys of %s: %w", o.Dir, err)
	}
	defer registry.Close()
	if err := badger.WriteKeyRegistry(registry,
		badger.KeyRegistryOptions{Dir: o.Dir, EncryptionKey: key}); err != nil {
		return fmt.Errorf("badger store: writing the keys of %s: %w", o.Dir, err)
	}
	return nil
}
