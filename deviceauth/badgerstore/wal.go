package badgerstore

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/y"
)

// The log of a memtable begins with the number of its key and the first bytes of each nonce.
// A record is two bytes that say what it is; the lengths of key and value, and the expiry, as
// varints; key and value, encrypted where there is a key; and a checksum of all that. A
// transaction is its changes and a record that names its version. Behind the last one is
// nothing but zeros.
const (
	walHeaderSize = 20

	metaTxn    = 1 << 6
	metaTxnEnd = 1 << 7 // a transaction
)

// internalPrefix begins the keys that Badger writes for itself.
var internalPrefix = []byte("!badger!")

// walReader finds the records of a log.
type walReader struct {
	data   []byte
	key    *pb.DataKey // nil: it is not encrypted
	offset int         // where the next record begins
	end    int         // behind it is nothing but zeros: the file has its size from the beginning

	noHeader bool // its head is gone: no record can be read
}

// A walRecord is one that is whole.
type walRecord struct {
	rawEntry
	meta byte
}

// errWALHeader says that the beginning of a log is not what its records were written with.
var errWALHeader = errors.New("its beginning is damaged, without which nothing in it can be read")

// newWALReader reads a log up to its first record. encrypted is whether the store is.
func newWALReader(name string, keys *badger.KeyRegistry, encrypted bool) (*walReader, error) {
	data, err := os.ReadFile(name)
	if err != nil || len(data) < walHeaderSize {
		return &walReader{}, err // Badger begins it anew
	}
	id := binary.BigEndian.Uint64(data)
	if encrypted && id == 0 {
		return walWithoutHeader(data)
	}
	key, err := keys.DataKey(id)
	if err != nil {
		return nil, fmt.Errorf("the key of the log %s: %w", filepath.Base(name), err)
	}
	return &walReader{data: data, key: key, offset: walHeaderSize, end: usedLen(data)}, nil
}

// usedLen is how many bytes come before the zeros at the end, of which there are megabytes.
func usedLen(data []byte) int {
	var zeros [4 << 10]byte
	for bytes.HasSuffix(data, zeros[:]) {
		data = data[:len(data)-len(zeros)]
	}
	return len(bytes.TrimRight(data, "\x00"))
}

// walWithoutHeader is of the log of an encrypted store that names no key. Badger would take it
// for an empty one. Where all of the head is zeros, the power may have failed before the
// first sync: nothing in it was promised, and the reader finds only that something is there.
func walWithoutHeader(data []byte) (*walReader, error) {
	if len(bytes.TrimLeft(data[:walHeaderSize], "\x00")) > 0 {
		return nil, errWALHeader
	}
	return &walReader{data: data, offset: walHeaderSize, end: usedLen(data), noHeader: true}, nil
}

// walDamage is what Badger does not read of a log.
type walDamage struct {
	offset   int  // where the first record begins that is not whole; 0: there is none
	followed bool // whole records stand behind it
	changes  int  // how many changes of transactions that were written whole
}

// changesAfterDamage reads a log, and calls found for each change that Badger does not read,
// because a record before the end of its transaction is not whole; an error of found ends it.
// What is left of a transaction that is damaged counts: each change stands for itself, as the
// newest of its key.
func changesAfterDamage(w *walReader, fn func(*rawEntry) error) (damage walDamage, err error) {
	var changes []*rawEntry // of one transaction, of which it is not known yet whether it was written whole
	emit := func() error {
		for _, change := range changes {
			if damage.offset == 0 {
				break // Badger reads it
			}
			damage.changes++
			if err := fn(change); err != nil {
				return err
			}
		}
		changes = nil
		return nil
	}
	for w.hasMore() {
		r := w.next(damage.offset)
		if r == nil {
			damage.offset = cmp.Or(damage.offset, w.offset)
			w.skip()
			continue
		}
		damage.followed = damage.followed || damage.offset > 0
		switch {
		case w.key != nil && damage.offset == 0 &&
			!isKey(r.key) && !isJunk(r.key) && !bytes.HasPrefix(r.key, internalPrefix):
			return damage, errWALHeader
		case len(changes) > 0 && changes[0].version != r.version, r.meta&metaTxnEnd != 0:
			// Badger writes one transaction behind another: so the one before was written whole,
			// also where its end is what is damaged.
			if err := emit(); err != nil {
				return damage, err
			}
		}
		if isKey(r.key) { // and nothing of Badger's own, such as the end of a transaction
			changes = append(changes, &r.rawEntry)
		}
	}
	return damage, nil
}

// hasMore reports whether anything but zeros comes.
func (w *walReader) hasMore() bool { return w.offset < w.end }

// skip goes on to where the next record may begin: behind damage only records of
// transactions are looked for, none of which begins with a zero.
func (w *walReader) skip() {
	w.offset = w.end - len(bytes.TrimLeft(w.data[w.offset+1:w.end], "\x00"))
}

// mayBeRecord reports whether a record of a transaction may begin with two bytes: what kind
// it is, and a byte that is for users of Badger, of which the store is none.
func mayBeRecord(meta, user byte) bool {
	const change = metaTxn | metaDeleted | metaPointer
	return user == 0 && (meta == metaTxnEnd || meta&metaTxn != 0 && meta&^change == 0)
}

// next reads the record that begins here, and goes on behind it; nil: none that is whole
// does. Behind damage, which begins at a byte above 0, it is particular: any bytes may come.
func (w *walReader) next(damage int) *walRecord {
	rest := w.data[w.offset:]
	if w.noHeader || len(rest) < 2 || damage > 0 && !mayBeRecord(rest[0], rest[1]) {
		return nil
	}
	at, numbers := 2, [3]uint64{} // the lengths of key and value, and the expiry
	for i := range numbers {
		n := 0
		if numbers[i], n = binary.Uvarint(rest[at:]); n <= 0 {
			return nil
		}
		at += n
	}
	// Whatever the bytes are, the lengths must lead to no place outside the log.
	const version = 8 // bytes, at the end of each key
	keyLength, size := numbers[0], numbers[0]+numbers[1]
	if keyLength <= version || keyLength > 1<<16 || numbers[1] > uint64(len(rest)) ||
		uint64(at)+size+crc32.Size > uint64(len(rest)) {
		return nil
	}
	end := at + int(size)
	if crc32.Checksum(rest[:end], y.CastagnoliCrcTable) != binary.BigEndian.Uint32(rest[end:]) {
		return nil
	}
	// The checksum is of what is encrypted, so it says nothing about the key.
	text := rest[at:end]
	if w.key != nil {
		var err error
		iv := binary.BigEndian.AppendUint32(bytes.Clone(w.data[walHeaderSize-12:walHeaderSize]), uint32(w.offset))
		if text, err = y.XORBlockAllocate(text, w.key.Data, iv); err != nil {
			return nil
		}
	}
	key, value := text[:keyLength], text[keyLength:]
	r := &walRecord{meta: rest[0], rawEntry: rawEntry{
		key: y.ParseKey(key), version: y.ParseTs(key),
		value: y.ValueStruct{
			Meta: rest[0] &^ (metaTxn | metaTxnEnd), UserMeta: rest[1], ExpiresAt: numbers[2], Value: value,
		},
	}}
	w.offset += end + crc32.Size
	return r
}
