package badgerstore

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// A backup is a text file with one JSON record per line: a header, the documents of the
// store, the grants, and a trailer with the number of records. It contains the signing
// keys, encrypted or not as the store was: it is as secret as they are.

const backupFormat = "caddy-deviceauth backup 1"

// A record is one line. It has one member, but for the header.
type record struct {
	Format   string            `json:"format,omitempty"` // header
	Made     time.Time         `json:"made,omitzero"`
	Secret   bool              `json:"encrypted,omitempty"` // whether the store was
	Name     string            `json:"name,omitempty"`      // of a document
	Document []byte            `json:"document,omitempty"`
	Grant    *deviceauth.Grant `json:"grant,omitempty"`
	End      *int              `json:"end,omitempty"` // trailer: the number of records before it
}

// Backup writes a consistent snapshot of the store, which keeps serving meanwhile.
func (s *Store) Backup(ctx context.Context, w io.Writer) error {
	out := bufio.NewWriter(w)
	lines, count := json.NewEncoder(out), 0
	if err := lines.Encode(record{Format: backupFormat, Made: time.Now().UTC(), Secret: s.encrypted}); err != nil {
		return err
	}
	err := s.view(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.DefaultIteratorOptions)
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			r, err := recordOf(it.Item())
			if err != nil {
				return err
			}
			if r == nil {
				continue
			}
			if count++; ctx.Err() != nil {
				return ctx.Err()
			}
			if err := lines.Encode(r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return errors.Join(lines.Encode(record{End: &count}), out.Flush())
}

// recordOf returns nil for indexes, for bundles of pending grants, which [Restore] never
// restores, and for documents with a time to live: these are people's sessions, which must
// not come back after they were ended.
func recordOf(item *badger.Item) (*record, error) {
	key := item.Key()
	if key[0] == 'v' && item.ExpiresAt() != 0 {
		return nil, nil
	}
	value, err := item.ValueCopy(nil)
	if err != nil {
		return nil, err
	}
	switch key[0] {
	case 'v':
		return &record{Name: string(key[1:]), Document: value}, nil
	case 'g':
		g := new(deviceauth.Grant)
		if err := json.Unmarshal(value, g); err != nil {
			return nil, fmt.Errorf("decoding a grant: %w", err)
		}
		return &record{Grant: g}, nil
	}
	return nil, nil
}

// Restored is the result of a restore: how many documents and grants were restored, and how
// many grants were not.
type Restored struct {
	Documents, Kept, Ended int
}

// Restore makes a new store from a backup, in a directory that must not exist yet. Signing
// keys are restored. Grants are not: it is unknown which of them were revoked, and which
// codes redeemed, since the backup was made, so every device must be connected anew.
// keepGrants restores those that were active, for an operator who knows that none of them
// was revoked since. A backup of an encrypted store is restored into an encrypted store,
// unless the options say that it is not to be: [ErrWasEncrypted].
func Restore(ctx context.Context, o Options, r io.Reader, keepGrants bool) (done Restored, err error) {
	o.Dir = filepath.Clean(o.Dir)
	// A symbolic link to nothing is there, too: no directory can take its name.
	if _, err := os.Lstat(o.Dir); !errors.Is(err, os.ErrNotExist) {
		return done, fmt.Errorf("badger store: %s is there already: move it out of the way first", o.Dir)
	}
	final := o.Dir
	o.Dir += ".restoring"
	// What an interrupted restore has left there is of no use.
	if err := os.RemoveAll(o.Dir); err != nil {
		return done, err
	}
	s, err := Open(o)
	if err != nil {
		return done, err
	}
	done, err = s.load(ctx, r, keepGrants, o.EncryptionKey == "" && !o.Unencrypted)
	if err = errors.Join(err, s.closeWithin(0)); err == nil {
		err = os.Rename(o.Dir, final)
	}
	if err != nil {
		os.RemoveAll(o.Dir) // best effort: the next restore removes it too
	}
	return done, err
}

var errTruncated = errors.New("badger store: the backup is not whole: it ends before its end")

// ErrWasEncrypted says that the restored store would lack the encryption that the old one
// had.
var ErrWasEncrypted = errors.New(
	"badger store: the backup is of a store that was encrypted, and there is no key for the new one")

// load reads a backup into a new store. plain says that the store is unencrypted without
// the option Unencrypted.
func (s *Store) load(ctx context.Context, r io.Reader, keepGrants, plain bool) (done Restored, err error) {
	err = each(r, func(next *record) error {
		switch {
		case next.Format != "":
			if next.Secret && plain {
				return ErrWasEncrypted
			}
			return nil
		case next.Name != "":
			done.Documents++
			return s.UpdateDocument(ctx, next.Name, func([]byte) ([]byte, error) { return next.Document, nil })
		case next.Grant != nil && keepGrants && next.Grant.IsActive() && time.Now().Before(next.Grant.KeepUntil()):
			done.Kept++
			return s.Create(ctx, next.Grant)
		}
		done.Ended++
		return nil
	})
	return done, err
}

// CheckBackup reads a whole backup. It returns what is wrong with it, or nil if [Restore]
// can read it.
func CheckBackup(r io.Reader) error { return each(r, func(*record) error { return nil }) }

// each calls fn for the header and each record of a backup. It returns an error if the
// backup is not complete.
func each(r io.Reader, do func(*record) error) error {
	lines := json.NewDecoder(bufio.NewReader(r))
	var head record
	if err := lines.Decode(&head); err != nil || head.Format != backupFormat {
		return fmt.Errorf("badger store: this is no backup: want one that begins with %q", backupFormat)
	}
	if err := do(&head); err != nil {
		return err
	}
	for count := 0; ; count++ {
		var next record
		switch err := lines.Decode(&next); {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return errTruncated
		case err != nil:
			return fmt.Errorf("badger store: record %d of the backup: %w", count+1, err)
		case next.End != nil && *next.End != count:
			return errTruncated
		case next.End != nil:
			return nil
		}
		if err := do(&next); err != nil {
			return err
		}
	}
}
