package badgerstore

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

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
