package badgerstore

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"log/slog"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/badgerdb"
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
// hexadecimal, and base64 of both alphabets, with padding or without. A blank text is a
// mistake, such as an empty file, and not the wish for no encryption.
func key(text deviceauth.Secret) ([]byte, error) {
	s := strings.TrimSpace(text.Reveal())
	if text == "" {
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
			"openssl rand -base64 32 makes")
}

// database returns the options of the database. key is the decoded one.
func (o Options) database(key []byte) badgerdb.Options {
	return badgerdb.Options{
		Dir: o.Dir, Key: key, Prefixes: keyPrefixes, Log: o.Log,
		Secrets: "the signing keys", Losses: "a revocation or that a code is used",
	}
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
	return advise(badgerdb.Rekey(Options{Dir: dir}.database(oldKey), newKey))
}
