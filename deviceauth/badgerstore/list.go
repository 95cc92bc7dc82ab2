package badgerstore

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/dgraph-io/badger/v4"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// List implements [deviceauth.Store], in the order of the ids; a cursor is the last id of a
// page. Reading a page from the disk costs what is in the page, however many grants there
// are. The pending grants in memory have no order, so each page scans all of them: some ten
// milliseconds for a million.
func (s *Store) List(ctx context.Context, after string, limit int) (list []*deviceauth.Grant, next string, err error) {
	var last deviceauth.ID
	if after != "" {
		if last, err = deviceauth.ParseID(after); err != nil {
			return nil, "", deviceauth.ErrCursor
		}
	}
	limit = max(limit, 1)
	follows := func(id deviceauth.ID) bool { return after == "" || bytes.Compare(id[:], last[:]) > 0 }
	// Before the disk is read: a grant that leaves memory meanwhile is found there.
	waiting := firstAfter(s.pending.snapshot(), follows, limit)
	err = s.view(func(txn *badger.Txn) error {
		// If a grant is also in memory, its record on the disk is newer.
		it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{'g'}, PrefetchValues: true,
			PrefetchSize: min(limit, 100)})
		defer it.Close()
		for it.Seek(grantKey(last)); it.Valid() && len(list) < limit && ctx.Err() == nil; it.Next() {
			if after != "" && bytes.Equal(it.Item().Key(), grantKey(last)) {
				continue
			}
			g := new(deviceauth.Grant)
			if err := it.Item().Value(func(value []byte) error { return json.Unmarshal(value, g) }); err != nil {
				return fmt.Errorf("decoding a grant: %w", err)
			}
			if err := g.CheckRecord(deviceauth.ID(it.Item().Key()[1:])); err != nil {
				return fmt.Errorf("grant %x: %w", it.Item().Key()[1:], err)
			}
			list = append(list, g)
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, "", err
	}
	list = page(list, waiting, limit)
	if len(list) == limit {
		next = list[limit-1].ID.String()
	}
	return list, next, nil
}

// page completes a page of grants from the disk, in the order of their ids, with those that
// are only in memory. If two grants have one id, the one from the disk is newer.
func page(list []*deviceauth.Grant, waiting []*pendingGrant, limit int) []*deviceauth.Grant {
	byID := func(a, b *deviceauth.Grant) int { return slices.Compare(a.ID[:], b.ID[:]) }
	for _, one := range waiting {
		list = append(list, one.grant())
	}
	slices.SortStableFunc(list, byID)
	list = slices.CompactFunc(list, func(a, b *deviceauth.Grant) bool { return a.ID == b.ID })
	return list[:min(len(list), limit)]
}

// firstAfter returns the first grants by id that follow a given one, up to limit. It leaves
// out those that expired so long ago that no poll is told of them.
func firstAfter(all []*pendingGrant, follows func(deviceauth.ID) bool, limit int) (first []*pendingGrant) {
	byID := func(a, b *pendingGrant) int { return slices.Compare(a.id[:], b.id[:]) }
	for _, one := range all {
		if past(one.forgetAt()) || !follows(one.id) {
			continue
		}
		if first = append(first, one); len(first) >= 2*limit { // sorted rarely, however many there are
			slices.SortFunc(first, byID)
			first = first[:limit]
		}
	}
	slices.SortFunc(first, byID)
	return first[:min(len(first), limit)]
}
