package badgerstore

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// idSize is the length of a grant's id, with which the keys of grants and owners end.
const idSize = len(deviceauth.ID{})

// grantKey returns the key of a grant's own record.
func grantKey(id deviceauth.ID) []byte { return append([]byte{'g'}, id[:]...) }

// codeKey returns the key of a user code; of "", the prefix of all of them.
func codeKey(code deviceauth.UserCode) []byte { return append([]byte{'c'}, code...) }

// documentKey returns the key of a document, such as the signing keys or a person's
// session.
func documentKey(name string) []byte { return append([]byte{'v'}, name...) }

// ownerPrefix uses a digest, so that no owner is a prefix of another.
func ownerPrefix(owner string) []byte {
	sum := sha256.Sum256([]byte(owner))
	return append([]byte{'s'}, sum[:16]...)
}

// ownerKey returns the key by which a person's grant is found. It has no value.
func ownerKey(owner string, id deviceauth.ID) []byte { return append(ownerPrefix(owner), id[:]...) }

// keyPrefixes are the first bytes of all keys.
const keyPrefixes = "gpcsv"

// expirySecond returns the Unix second in which Badger may forget a record that is needed
// until then, with a margin for Badger's rounding.
func expirySecond(until time.Time) uint64 { return uint64(until.Unix()) + 2 }

// newEntry returns an entry that Badger forgets in a second of Unix time.
func newEntry(key, value []byte, expires uint64) *badger.Entry {
	e := badger.NewEntry(key, value)
	e.ExpiresAt = expires
	return e
}

// read returns a grant and the second in which Badger forgets it, or
// [deviceauth.ErrNotFound]. A record that is not the grant's own, such as the word null, is
// an error: decoded, it would be a grant without a person and without a state.
func read(txn *badger.Txn, key []byte) (*deviceauth.Grant, uint64, error) {
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, 0, deviceauth.ErrNotFound
	}
	if err != nil {
		return nil, 0, err
	}
	g := new(deviceauth.Grant)
	err = item.Value(func(value []byte) error { return json.Unmarshal(value, g) })
	if err != nil {
		return nil, 0, fmt.Errorf("decoding a grant: %w", err)
	}
	if err := g.CheckRecord(deviceauth.ID(key[1:])); err != nil {
		return nil, 0, fmt.Errorf("grant %x: %w", key[1:], err)
	}
	return g, item.ExpiresAt(), nil
}

// codeHolder returns the id of the grant that a user code belongs to, or
// [deviceauth.ErrNotFound] if there is none, or if it was decided and the code is free
// again.
func codeHolder(txn *badger.Txn, code deviceauth.UserCode) (id deviceauth.ID, err error) {
	item, err := txn.Get(codeKey(code))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return id, deviceauth.ErrNotFound
	}
	if err != nil {
		return id, err
	}
	err = item.Value(func(value []byte) error {
		if copy(id[:], value) != idSize {
			return deviceauth.ErrNotFound // freed
		}
		return nil
	})
	return id, err
}

// sortByCreation puts the oldest first, as the ByOwner of [deviceauth.Store] requires.
func sortByCreation(list []*deviceauth.Grant) {
	slices.SortFunc(list, func(a, b *deviceauth.Grant) int { return a.Created.Compare(b.Created) })
}
