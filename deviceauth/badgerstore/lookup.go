package badgerstore

import (
	"context"
	"errors"

	"github.com/dgraph-io/badger/v4"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// A grant is looked up among the pending ones in memory, then in the cache, and then on the
// disk. The order matters: a change reaches the disk first, then the cache, and then its
// grant leaves the pending ones. So a reader that misses a grant in one place finds it in
// the next.

// Recall implements [deviceauth.Recaller]. It leaves a grant whose last change may or may not
// have reached the disk to Get.
func (s *Store) Recall(id deviceauth.ID) *deviceauth.Grant {
	g, doubted := s.pending.get(id)
	if g == nil || doubted {
		g, _ = s.cache.get(id)
	}
	return g
}

// Admit implements [deviceauth.Admitter]. It admits a grant only if the disk has just
// accepted others, memory has all user codes, and the committer is not behind: otherwise
// Create has to check or wait.
func (s *Store) Admit(g *deviceauth.Grant) (done bool, err error) {
	if !writtenBehind(g) || !s.pending.diskCheckedRecently() {
		return false, nil
	}
	until, moves := s.pending.codesOnDisk()
	if !past(until) {
		return false, nil
	}
	switch err = s.pending.addNow(g, moves); {
	case errors.Is(err, errNoRoom), errors.Is(err, errCodeMoved):
		return false, nil
	}
	return true, err
}

// Get implements [deviceauth.Store]. A grant that is found on the disk enters the cache,
// unless something was changed meanwhile.
func (s *Store) Get(_ context.Context, id deviceauth.ID) (*deviceauth.Grant, error) {
	waits, doubted := s.pending.get(id)
	if waits != nil && !doubted {
		return waits, nil
	}
	g, changesSeen := s.cache.get(id)
	if g != nil {
		return g, nil
	}
	err := s.view(func(txn *badger.Txn) error {
		found, expires, err := read(txn, grantKey(id))
		if err == nil {
			g = s.cache.put(found, expires, changesSeen)
		}
		return err
	})
	switch {
	case errors.Is(err, deviceauth.ErrNotFound) && waits != nil:
		return waits, nil // the uncertain change was not committed
	case err != nil:
		return nil, err
	}
	return g, nil
}

// ByUserCode implements [deviceauth.Store]. It reads the disk only while the disk may have
// codes that memory does not have, as after a restart.
func (s *Store) ByUserCode(ctx context.Context, code deviceauth.UserCode) (g *deviceauth.Grant, err error) {
	g, doubted, elsewhere := s.pending.byCode(code)
	switch {
	case g != nil && doubted:
		g, err = s.Get(ctx, g.ID)
	case g != nil:
		return g, nil
	case !elsewhere:
		return nil, deviceauth.ErrNotFound
	default:
		err = s.view(func(txn *badger.Txn) error {
			id, err := codeHolder(txn, code)
			if err == nil {
				g, _, err = read(txn, grantKey(id))
			}
			return err
		})
	}
	if err == nil && (g.State != deviceauth.Pending || g.UserCode != code) {
		err = deviceauth.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return g, nil
}

// ByOwner implements [deviceauth.Store]. A grant gets an owner when it is approved, and
// then has a record on the disk, so the pending grants need not be searched.
func (s *Store) ByOwner(_ context.Context, owner string) (list []*deviceauth.Grant, err error) {
	err = s.view(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: ownerPrefix(owner)})
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
