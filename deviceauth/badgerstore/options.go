package badgerstore

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// Options say where and how a store is kept.
type Options struct {
	Dir string // created if missing, and made private if other users can open it
	// EncryptionKey encrypts what is on the disk: 32 bytes in base64 or hexadecimal digits.
	// If it is empty, nothing is encrypted. It is for a new directory: one that was begun
	// without a key stays unencrypted.
	EncryptionKey deviceauth.Secret
	// Unencrypted says that a restored store is meant to have no encryption.
	Unencrypted bool
	Log         *slog.Logger // receives what Badger logs; nil: discarded
}

// Check returns what is wrong with the options. It does not touch the disk.
func (o Options) Check() error {
	_, err := o.key()
	return err
}

// key decodes the key, and refuses one that is publicly known.
func (o Options) key() ([]byte, error) {
	raw, err := key(o.EncryptionKey)
	if bytes.Equal(raw, make([]byte, keySize)) {
		return nil, errors.New("badger store: encryption key: it is 32 zero bytes, which everybody knows")
	}
	return raw, err
}

// keySize is in bytes.
const keySize = 32 // AES-256

// key decodes an encryption key; nil: there is none. It accepts all usual forms:
// hexadecimal, and base64 of both alphabets, with padding or without.
func key(text deviceauth.Secret) ([]byte, error) {
	s := strings.TrimSpace(text.Reveal())
	if s == "" {
		return nil, nil
	}
	if raw, err := hex.DecodeString(s); err == nil && len(raw) == keySize {
		return raw, nil
	}
	plain := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(s, "="))
	if raw, err := base64.RawStdEncoding.DecodeString(plain); err == nil && len(raw) == keySize {
		return raw, nil
	}
	return nil,
		errors.New("badger store: encryption key: want 32 bytes in base64 or hexadecimal digits, such as " +
			"openssl rand " +
			"-base64 32 makes")
}

// badger returns Badger's own options. Its files are small: Badger's defaults are for
// databases of many gigabytes, and a gateway's has some megabytes.
func (o Options) badger(key []byte, log logger) badger.Options {
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
	if key != nil {
		b = b.WithEncryptionKey(key).WithBlockCacheSize(16 << 20).WithIndexCacheSize(16 << 20)
	}
	return b
}

// Sizes of Badger's files in bytes. A memtable takes as much memory, and twice that while
// one is flushed to a table. A transaction may use a sixth of it at most.
const (
	memTable = 8 << 20
	valueLog = 16 << 20
)

// open opens the database, and watches its compactions.
func (s *Store) open(o Options, key []byte) (*badger.DB, error) {
	if err := s.prepare(o, key); err != nil {
		return nil, err
	}
	log, compactions := s.log, newCompactions(s)
	log.compactions = compactions
	var db *badger.DB
	err := catchPanics(func() (err error) {
		db, err = badger.Open(o.badger(key, log))
		return err
	})
	if err != nil {
		compactions.start(nil)
		return nil, err
	}
	s.compactions = compactions
	compactions.start(db)
	return db, nil
}

// prepare is called before Badger opens the directory, which is locked. It verifies the
// files that Badger would panic at or drop, removes those that a crash left empty, and
// writes back what was kept.
func (s *Store) prepare(o Options, key []byte) error {
	if ownLock {
		if err := cmp.Or(removeEmptyLogs(o.Dir), renameKept(o.Dir)); err != nil {
			return err
		}
	}
	if err := catchPanics(func() error { return o.checkFiles(key) }); err != nil {
		return err
	}
	return s.recoverKept(o, key)
}

// Rekey encrypts the data keys of a closed store with another key. The data itself stays as
// it is, so a leaked old key still decrypts an old copy of the directory.
func Rekey(dir string, from, to deviceauth.Secret) error {
	oldKey, err := key(from)
	if err != nil {
		return err
	}
	newKey, err := Options{EncryptionKey: to}.key()
	if err != nil {
		return err
	}
	if oldKey == nil || newKey == nil {
		return errors.New("badger store: want the old key and the new one; a store that is not encrypted becomes so " +
			"by a backup and a restore into a new directory")
	}
	for _, file := range []string{badger.ManifestFilename, badger.KeyRegistryFileName} {
		if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
			return fmt.Errorf("badger store: there is no store in %s: %w", dir, err)
		}
	}
	s, err := openWith(Options{Dir: dir}, oldKey) // takes the lock, and verifies the key
	if err != nil {
		return err
	}
	if err := s.closeWhole(); err != nil {
		return err
	}
	registry, err := badger.OpenKeyRegistry(badger.KeyRegistryOptions{Dir: dir, ReadOnly: true, EncryptionKey: oldKey})
	if err != nil {
		return fmt.Errorf("badger store: reading the keys of %s: %w", dir, err)
	}
	if err := badger.WriteKeyRegistry(registry,
		badger.KeyRegistryOptions{Dir: dir, EncryptionKey: newKey}); err != nil {
		return fmt.Errorf("badger store: writing the keys of %s: %w", dir, err)
	}
	return nil
}
