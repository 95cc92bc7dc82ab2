package badgerstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strconv"

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
	logHead = 20

	metaTransaction = 1 << 6
	metaEnds        = 1 << 7 // a transaction
)

// badgersOwn begins the keys that Badger writes for itself.
var badgersOwn = []byte("!badger!")

// logReader finds the records of a log.
type logReader struct {
	data []byte
	key  *pb.DataKey // nil: it is not encrypted
	at   int         // where the next record begins
}

// A logRecord is one that is whole.
type logRecord struct {
	relic
	meta byte
}

// newLogReader reads a log up to its first record. encrypted is whether the store is.
func newLogReader(name string, keys *badger.KeyRegistry, encrypted bool) (*logReader, error) {
	data, err := os.ReadFile(name)
	if err != nil || len(data) < logHead {
		return &logReader{}, err // Badger begins it anew
	}
	id := binary.BigEndian.Uint64(data)
	if encrypted && id == 0 { // its beginning has not reached the disk, and without it nothing can be read
		return &logReader{}, nil
	}
	key, err := keys.DataKey(id)
	if err != nil {
		return nil, fmt.Errorf("the key of the log %s: %w", filepath.Base(name), err)
	}
	return &logReader{data: data, key: key, at: logHead}, nil
}

// changesBehindDamage reads a log, and calls found for each change of a transaction that
// Badger does not read, because a record before its end is not whole; an error of found ends
// it. damage is where that record begins; 0: there is none.
func changesBehindDamage(l *logReader, found func(*relic) error) (damage int, err error) {
	// Of a transaction whose end has not come. What is left of one that is damaged counts: each
	// change stands for itself, as the newest of its key.
	var changes []*relic
	for l.hasMore() {
		r := l.next()
		switch {
		case r == nil:
			if damage == 0 {
				damage = l.at
			}
			l.skip()
		case l.key != nil && damage == 0 && !isKey(r.key) && !isJunk(r.key) && !bytes.HasPrefix(r.key, badgersOwn):
			return 0, errors.New("a key is encrypted in another way than its beginning says")
		case r.meta&metaEnds != 0:
			for _, change := range changes {
				if damage == 0 || strconv.FormatUint(change.version, 10) != string(r.value.Value) {
					continue // Badger reads it, or its transaction was never written whole
				}
				if err := found(change); err != nil {
					return damage, err
				}
			}
			changes = nil
		case isKey(r.key): // and nothing of Badger's own
			changes = append(changes, &r.relic)
		}
	}
	return damage, nil
}

// hasMore reports whether anything but zeros comes: the file has its size from the beginning.
func (l *logReader) hasMore() bool {
	return len(bytes.TrimLeft(l.data[l.at:], "\x00")) > 0
}

// skip goes on to where the next record may begin: the store writes nothing outside of a
// transaction, so none begins with a zero.
func (l *logReader) skip() {
	rest := l.data[l.at+1:]
	l.at = len(l.data) - len(bytes.TrimLeft(rest, "\x00"))
}

// next reads the record that begins here, and goes on behind it; nil: none that is whole does.
func (l *logReader) next() *logRecord {
	rest := l.data[l.at:]
	at, numbers := 2, [3]uint64{} // the lengths of key and value, and the expiry
	for i := range numbers {
		n := 0
		if at >= len(rest) {
			return nil
		}
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
	if l.key != nil {
		var err error
		iv := binary.BigEndian.AppendUint32(bytes.Clone(l.data[logHead-12:logHead]), uint32(l.at))
		if text, err = y.XORBlockAllocate(text, l.key.Data, iv); err != nil {
			return nil
		}
	}
	key, value := text[:keyLength], text[keyLength:]
	r := &logRecord{meta: rest[0], relic: relic{key: y.ParseKey(key), version: y.ParseTs(key), value: y.ValueStruct{
		Meta: rest[0] &^ (metaTransaction | metaEnds), UserMeta: rest[1], ExpiresAt: numbers[2], Value: value}}}
	l.at += end + crc32.Size
	return r
}
