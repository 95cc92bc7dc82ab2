// Package badgerstore remembers grants in an embedded Badger database: one
// process, one directory, no server. It decides nothing about grants; what it
// promises is that what Update or Change returned is on the disk.
//
// Keys:
//
//	g <id>            the grant, as JSON
//	c <user code>     the id of the grant that waits for the code; empty: free
//	s <subject> <id>  nothing; a person's grants (the subject as a digest)
//	v <name>          a document of the vault
//
// Everything but the vault has a time to live. Badger counts that in whole
// seconds, so it is only for tidying up: the exact times are in the grant.
package badgerstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// Store is a [deviceauth.Backend] on disk. Open opens one.
type Store struct {
	db    *badger.DB
	known *cache
	jobs  chan *job
	stop  chan struct{} // closed by Close; no job is taken afterwards
	done  chan struct{} // closed when the committer has ended

	// writes keeps Badger from changing to a new log between a commit that is
	// promised and its sync, which would sync the new log only: the committer
	// holds it alone, a Create shares it with other Creates.
	writes sync.RWMutex

	// reads keeps the database open under those who look at it.
	reads sync.RWMutex
	close sync.Once
}

var _ deviceauth.Backend = (*Store)(nil)

// Open opens the database in a directory, which it makes, readable by its
// owner alone, where it is missing. log hears what Badger has to say; nil: nobody does.
func Open(dir string, log *slog.Logger) (*Store, error) {
	if strconv.IntSize < 64 {
		// Its allocator shifts an int too far once a table passes 4 MB.
		return nil, errors.New("badger loses data on 32-bit systems: use another store, or a 64-bit build")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("badger store: %w", err)
	}
	db, err := badger.Open(sizes(dir, log))
	if err != nil {
		if strings.Contains(err.Error(), "Cannot acquire directory lock") {
			return nil, fmt.Errorf("badger store: %s is in use by another process; several gateways need a store that can be shared", dir)
		}
		return nil, fmt.Errorf("badger store: opening %s: %w", dir, err)
	}
	s := &Store{db: db, known: newCache(), jobs: make(chan *job, maxBatch), stop: make(chan struct{}), done: make(chan struct{})}
	go s.commitJobs()
	return s, nil
}

// sizes are small ones: Badger's defaults are for databases of many
// gigabytes, a gateway's is of some megabytes.
func sizes(dir string, log *slog.Logger) badger.Options {
	return badger.DefaultOptions(dir).
		WithMemTableSize(8 << 20).
		WithNumMemtables(2).
		WithValueLogFileSize(16 << 20).
		WithCompression(options.None). // records are small, and random where they are not
		WithBlockCacheSize(0).         // of use only with compression or encryption
		WithCompactL0OnClose(true).
		WithMetricsEnabled(false).
		WithLogger(logger{log})
}

// Close implements [deviceauth.Store].
func (s *Store) Close() error {
	err := error(nil)
	s.close.Do(func() {
		close(s.stop)
		<-s.done
		s.reads.Lock()
		defer s.reads.Unlock()
		s.writes.Lock()
		defer s.writes.Unlock()
		err = s.db.Close()
	})
	return err
}

// Get implements [deviceauth.Store].
func (s *Store) Get(_ context.Context, id deviceauth.ID) (*deviceauth.Grant, error) {
	g, mark := s.known.get(id)
	if g != nil {
		return g, nil
	}
	err := s.view(func(txn *badger.Txn) error {
		found, expires, err := read(txn, grantKey(id))
		if err == nil {
			g = found
			s.known.put(g, expires, mark)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return g, nil
}

// ByUserCode implements [deviceauth.Store].
func (s *Store) ByUserCode(_ context.Context, code deviceauth.UserCode) (g *deviceauth.Grant, err error) {
	err = s.view(func(txn *badger.Txn) error {
		id, err := holder(txn, code)
		if err != nil {
			return err
		}
		if g, _, err = read(txn, grantKey(id)); err == nil && (g.State != deviceauth.Pending || g.UserCode != code) {
			return deviceauth.ErrNotFound
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return g, nil
}

// BySubject implements [deviceauth.Store].
func (s *Store) BySubject(_ context.Context, subject string) (list []*deviceauth.Grant, err error) {
	err = s.view(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: subjectPrefix(subject)})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			key := it.Item().Key()
			g, _, err := read(txn, append([]byte{'g'}, key[len(key)-idSize:]...))
			if errors.Is(err, deviceauth.ErrNotFound) {
				continue // the index may outlive its grant by seconds
			}
			if err != nil {
				return err
			}
			list = append(list, g)
		}
		return nil
	})
	sortByCreation(list)
	return list, err
}

// Create implements [deviceauth.Store]. It waits for no disk.
func (s *Store) Create(_ context.Context, g *deviceauth.Grant) error {
	value, err := json.Marshal(g)
	if err != nil {
		return fmt.Errorf("badger store: encoding a grant: %w", err)
	}
	s.writes.RLock()
	defer s.writes.RUnlock()
	return s.update(func(txn *badger.Txn) error {
		if _, err := txn.Get(grantKey(g.ID)); !errors.Is(err, badger.ErrKeyNotFound) {
			return taken(err)
		}
		if _, err := holder(txn, g.UserCode); !errors.Is(err, deviceauth.ErrNotFound) {
			return taken(err)
		}
		if err := txn.SetEntry(entry(codeKey(g.UserCode), g.ID[:], second(g.Expires))); err != nil {
			return err
		}
		return txn.SetEntry(entry(grantKey(g.ID), value, second(g.KeepUntil())))
	})
}

func taken(err error) error {
	if err == nil {
		return deviceauth.ErrExists
	}
	return err
}

// second is when Badger may forget what is wanted until then, with a margin
// for its rounding.
func second(until time.Time) uint64 { return uint64(until.Unix()) + 2 }

func entry(key, value []byte, expires uint64) *badger.Entry {
	e := badger.NewEntry(key, value)
	e.ExpiresAt = expires
	return e
}

// update runs a transaction until no other one gets in its way; Badger's own
// Update gives up at the first conflict.
func (s *Store) update(change func(*badger.Txn) error) error {
	for {
		err := s.db.Update(change)
		if !errors.Is(err, badger.ErrConflict) {
			return wrap(err)
		}
	}
}

func (s *Store) view(look func(*badger.Txn) error) error {
	s.reads.RLock()
	defer s.reads.RUnlock()
	return wrap(s.db.View(look))
}

// wrap adds where a fault came from; what the contract names stays as it is.
func wrap(err error) error {
	if err == nil || errors.Is(err, deviceauth.ErrNotFound) || errors.Is(err, deviceauth.ErrExists) {
		return err
	}
	return fmt.Errorf("badger store: %w", err)
}
