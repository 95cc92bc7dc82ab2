package badgerstore

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/dgraph-io/badger/v4"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// A bundle is one record with the pending grants of some milliseconds. Two entries per
// grant, its record and its user code, would cost a device authorization request a fifth of
// its time. A bundle is never changed: a grant that is decided gets a record of its own,
// which replaces the bundle's from then on. Bundles are read only at the start of a
// process, because the process that wrote them has their grants in memory.

// The format of a bundle, after its first byte, is for each grant:
//
//	a byte         0: client, scope and audience are those of the previous grant; 1: they follow
//	client, scope  texts
//	audience       the number of texts plus one, and the texts; 0: no audience was requested
//	id             16 bytes
//	device code    its digest, 32 bytes
//	created, until in Unix nanoseconds, as signed varints
//	address        16 bytes, and a byte for its family
//	challenge      a byte: whether one stands at the end of the text (RFC 7636)
//	lengths        of the user code and of the place within the text
//	revision       how often the record was changed, as a varint
//	text           user code, place, label, and challenge
//
// A text is its length as a varint and its bytes. A change of the format must change
// bundleFormat, and the previous format must still be read: an updated gateway finds
// bundles of its predecessor.

// bundleFormat is the first byte of a bundle. A program must not touch a bundle whose
// format it does not know.
const bundleFormat = 1

// bundleSize is the number of bytes after which a bundle takes no further grant. Badger
// refuses a transaction above a sixth of its memtable.
const bundleSize = 256 << 10

// bundleKey returns a bundle's key, which is unique because it contains the id of the
// bundle's first grant.
func bundleKey(first deviceauth.ID) []byte { return append([]byte{'p'}, first[:]...) }

// A bundle is built in memory, grant by grant, and added to a transaction as a whole. Its
// key only says that it is a bundle; a bundle is never read to decide about one grant.
type bundle struct {
	first  deviceauth.ID
	value  []byte
	last   *request // of the previous grant
	forget uint64   // when Badger may forget the last of them, in Unix seconds
}

// add appends a grant. The client, the scope and the audience are written once for
// consecutive grants that share them.
func (b *bundle) add(one *pendingGrant) {
	if b.value == nil {
		b.first, b.value = one.id, append(make([]byte, 0, 4<<10), bundleFormat)
	}
	if one.shared == b.last {
		b.value = append(b.value, 0)
	} else {
		b.last = one.shared
		b.value = one.shared.append(append(b.value, 1))
	}
	b.value = one.append(b.value)
	b.forget = max(b.forget, one.forgetAt())
}

// append encodes what many grants share. It distinguishes a nil audience from an empty one.
func (r *request) append(to []byte) []byte {
	to = appendText(appendText(to, r.client), string(r.scope))
	if r.audience == nil {
		return append(to, 0)
	}
	to = binary.AppendUvarint(to, uint64(len(r.audience))+1)
	for _, audience := range r.audience {
		to = appendText(to, audience)
	}
	return to
}

// append encodes the rest of a grant that has no full copy.
func (c *compactGrant) append(to []byte) []byte {
	to = append(append(to, c.id[:]...), c.device[:]...)
	to = binary.AppendVarint(binary.AppendVarint(to, c.created), c.expires)
	to = append(append(to, c.from[:]...), byte(c.family), asByte(c.challenged))
	to = binary.AppendUvarint(binary.AppendUvarint(to, uint64(c.code)), uint64(c.place))
	return appendText(binary.AppendUvarint(to, uint64(c.revision)), c.text)
}

// asByte encodes a bool.
func asByte(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// appendText encodes a text after its length.
func appendText(to []byte, s string) []byte {
	return append(binary.AppendUvarint(to, uint64(len(s))), s...)
}

// errBundle is logged, with what it means for devices.
var errBundle = errors.New("the record of pending grants is damaged, or of another version")

// readBundle decodes a bundle, or returns errBundle. Arbitrary bytes do not make it panic,
// and cost at most some twenty times their length of memory.
func readBundle(value []byte) (grants []compactGrant, err error) {
	r := bundleReader{rest: value}
	if format := r.bytes(1); format == nil || format[0] != bundleFormat {
		return nil, errBundle
	}
	var last *request
	for len(r.rest) > 0 && !r.bad {
		if kind := r.bytes(1); kind != nil && kind[0] != 0 {
			last = r.request()
		}
		c := r.compactGrant()
		c.shared = last
		grants = append(grants, c)
		r.bad = r.bad || last == nil || !c.sound()
	}
	if r.bad {
		return nil, errBundle
	}
	return grants, nil
}

// sound reports whether a decoded grant can have been encoded: the lengths are those of the
// text, and the code expires after it was made.
func (c *compactGrant) sound() bool {
	return len(c.text) <= math.MaxUint16 && int(c.code)+int(c.place) <= len(c.text) &&
		c.created >= 0 && c.expires > c.created && c.family <= ipv6
}

// A bundleReader decodes what [bundle] encodes, value by value: numbers as varints, texts
// after their length, ids and digests as they are. After a value that is missing or
// invalid, everything that it returns is zero.
type bundleReader struct {
	rest []byte
	bad  bool
}

// request decodes what [request.append] wrote.
func (r *bundleReader) request() *request {
	req := &request{client: r.text(), scope: deviceauth.Scope(r.text())}
	n := r.uvarint()
	if n == 0 || n > uint64(len(r.rest))+1 { // an audience has at least one byte, its length
		r.bad = r.bad || n > 0
		return req
	}
	req.audience = make([]string, n-1)
	for i := range req.audience {
		req.audience[i] = r.text()
	}
	return req
}

// compactGrant decodes what [compactGrant.append] wrote; readBundle sets the shared
// request.
func (r *bundleReader) compactGrant() (c compactGrant) {
	copy(c.id[:], r.bytes(len(c.id)))
	copy(c.device[:], r.bytes(len(c.device)))
	c.created, c.expires = r.varint(), r.varint()
	copy(c.from[:], r.bytes(len(c.from)))
	if kind := r.bytes(2); kind != nil {
		c.family, c.challenged = family(kind[0]), kind[1] != 0
	}
	c.code, c.place = uint16(r.upTo(math.MaxUint16)), uint16(r.upTo(math.MaxUint16))
	c.revision = int32(r.upTo(math.MaxInt32))
	c.text = r.text()
	return c
}

// bytes reads n bytes; nil: there are fewer left.
func (r *bundleReader) bytes(n int) []byte {
	if r.bad = r.bad || n > len(r.rest); r.bad {
		return nil
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}

// text reads a text. It compares the length with what is left before it allocates memory.
func (r *bundleReader) text() string {
	n := r.uvarint()
	if n > uint64(len(r.rest)) {
		r.bad = true
		return ""
	}
	return string(r.bytes(int(n)))
}

// uvarint and varint read a number.
func (r *bundleReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	return number(r, v, n)
}

// upTo reads a number that must not exceed most.
func (r *bundleReader) upTo(most uint64) uint64 {
	v := r.uvarint()
	r.bad = r.bad || v > most
	return v
}

func (r *bundleReader) varint() int64 {
	v, n := binary.Varint(r.rest)
	return number(r, v, n)
}

// number consumes n bytes, the length of v as encoding/binary returned it; 0 or less: it is
// invalid.
func number[T int64 | uint64](r *bundleReader, v T, n int) T {
	if n <= 0 || r.bytes(n) == nil {
		r.bad = true
		return 0
	}
	return v
}

// loadBundles loads the grants of earlier processes into memory, unless they have records
// of their own: the process that wrote a bundle, or a later one that read it, may have
// decided some of its grants. A bundle that cannot be read is logged: the devices of its
// grants request another code.
func (s *Store) loadBundles(txn *badger.Txn) error {
	it := txn.NewIterator(badger.IteratorOptions{Prefix: bundleKey(deviceauth.ID{})[:1], PrefetchValues: true,
		PrefetchSize: 2})
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		if err := it.Item().Value(s.loadBundle); err != nil {
			return err
		}
	}
	decided, err := s.decided(txn)
	s.pending.restored(decided)
	return err
}

// loadBundle loads one bundle.
func (s *Store) loadBundle(value []byte) error {
	grants, err := readBundle(value)
	if err != nil {
		s.logError("pending grants of before are lost: %v", err)
	}
	for _, c := range grants {
		if !past(c.forgetAt()) {
			s.pending.restore(c)
		}
	}
	return nil
}

// fewGrants is the number of grants up to which each one is looked up, since there may be
// millions of other records. For more, the keys of all records are read, because a lookup
// takes some ten times as long as the next key.
const fewGrants = 10_000

// decided returns which of the grants in memory have records of their own.
func (s *Store) decided(txn *badger.Txn) (list []deviceauth.ID, err error) {
	all := s.pending.snapshot()
	if len(all) > fewGrants {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: grantKey(deviceauth.ID{})[:1]})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			if id := deviceauth.ID(it.Item().Key()[1:]); s.pending.has(id) {
				list = append(list, id)
			}
		}
		return list, nil
	}
	for _, one := range all {
		switch _, err := txn.Get(grantKey(one.id)); {
		case err == nil:
			list = append(list, one.id)
		case !errors.Is(err, badger.ErrKeyNotFound):
			return nil, err
		}
	}
	return list, nil
}
