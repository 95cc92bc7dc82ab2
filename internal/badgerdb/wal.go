package badgerdb

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

// The write-ahead log (WAL) of a memtable begins with the id of its data key and the first
// bytes of each nonce. A record is two bytes of meta data; the lengths of key and value,
// and the expiry, as varints; key and value, encrypted if the database is; and a checksum of
// all that. A transaction is its changes, followed by a record with its version. The rest
// of the file is zeros.
const (
	walHeaderSize = 20

	metaTxn    = 1 << 6
	metaTxnEnd = 1 << 7 // the last record of a transaction
)

// internalPrefix begins the keys of Badger's own entries.
var internalPrefix = []byte("!badger!")

// A walReader reads the records of a WAL.
type walReader struct {
	data   []byte
	key    *pb.DataKey // nil: not encrypted
	isKey  func(key []byte) bool
	offset int // of the next record
	end    int // of the records: only zeros follow, since the file has its full size from the start

	noHeader bool // the header is gone, so no record can be read
}

// A walRecord is an undamaged record.
type walRecord struct {
	rawEntry
	meta byte
}

// errWALHeader says that the records were not written with this header.
var errWALHeader = errors.New("its beginning is damaged, without which nothing in it can be read")

// newWALReader opens a WAL at its first record.
func (o Options) newWALReader(name string, keys *badger.KeyRegistry) (*walReader, error) {
	data, err := os.ReadFile(name)
	if err != nil || len(data) < walHeaderSize {
		return &walReader{}, err // Badger starts such a file anew
	}
	id := binary.BigEndian.Uint64(data)
	if o.Key != nil && id == 0 {
		return walWithoutHeader(data)
	}
	key, err := keys.DataKey(id)
	if err != nil {
		return nil, fmt.Errorf("the key of the log %s: %w", filepath.Base(name), err)
	}
	return &walReader{data: data, key: key, isKey: o.isKey, offset: walHeaderSize, end: usedLen(data)}, nil
}

// usedLen returns the number of bytes before the zeros at the end, which are megabytes.
func usedLen(data []byte) int {
	var zeros [4 << 10]byte
	for bytes.HasSuffix(data, zeros[:]) {
		data = data[:len(data)-len(zeros)]
	}
	return len(bytes.TrimRight(data, "\x00"))
}

// walWithoutHeader handles the WAL of an encrypted database that names no data key. Badger
// would take it for an empty one. If the whole header is zeros, the power may have failed
// before the first sync: nothing in it was promised, and the reader only finds that
// something follows.
func walWithoutHeader(data []byte) (*walReader, error) {
	if len(bytes.TrimLeft(data[:walHeaderSize], "\x00")) > 0 {
		return nil, errWALHeader
	}
	return &walReader{data: data, offset: walHeaderSize, end: usedLen(data), noHeader: true}, nil
}

// walDamage describes what Badger does not read of a WAL.
type walDamage struct {
	offset   int  // of the first damaged record; 0: there is none
	followed bool // undamaged records follow
	changes  int  // after the damage, in transactions that were written completely
}

// changesAfterDamage reads a WAL and calls fn for each change that Badger does not read
// because a record before the end of its transaction is damaged. It stops at an error of
// fn. The remaining changes of a damaged transaction count: each one is written back on its
// own, as the newest version of its key.
func changesAfterDamage(w *walReader, fn func(*rawEntry) error) (damage walDamage, err error) {
	var changes []*rawEntry // of the current transaction, which may turn out to be incomplete
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
			!w.isKey(r.key) && !isJunk(r.key) && !bytes.HasPrefix(r.key, internalPrefix):
			return damage, errWALHeader
		case len(changes) > 0 && changes[0].version != r.version, r.meta&metaTxnEnd != 0:
			// Badger writes transactions one after another: so the previous one was written
			// completely, even if its last record is damaged.
			if err := emit(); err != nil {
				return damage, err
			}
		}
		if w.isKey(r.key) { // none of Badger's own entries, such as the end of a transaction
			changes = append(changes, &r.rawEntry)
		}
	}
	return damage, nil
}

// hasMore reports whether anything but zeros follows.
func (w *walReader) hasMore() bool { return w.offset < w.end }

// skip moves to where the next record may begin. After damage, only records of transactions
// are looked for, none of which begins with a zero.
func (w *walReader) skip() {
	w.offset = w.end - len(bytes.TrimLeft(w.data[w.offset+1:w.end], "\x00"))
}

// mayBeRecord reports whether a record of a transaction can begin with these two bytes: its
// kind, and a byte for users of Badger, which is left 0.
func mayBeRecord(meta, user byte) bool {
	const change = metaTxn | metaDeleted | metaPointer
	return user == 0 && (meta == metaTxnEnd || meta&metaTxn != 0 && meta&^change == 0)
}

// next reads the record at the offset and moves past it. It returns nil if there is no
// undamaged one. After damage, which begins at a byte above 0, it accepts only records of
// transactions, since it is called at arbitrary bytes.
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
	// The bytes are arbitrary: the lengths must not lead outside the file.
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
	// The checksum covers the ciphertext, so it does not show whether the data key is
	// right.
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
