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
	used int         // behind it is nothing but zeros: the file has its size from the beginning

	headless bool // its head is gone: no record can be read
}

// A logRecord is one that is whole.
type logRecord struct {
	relic
	meta byte
}

// errOtherLog says that the beginning of a log is not what its records were written with.
var errOtherLog = errors.New("its beginning is damaged, without which nothing in it can be read")

// newLogReader reads a log up to its first record. encrypted is whether the store is.
func newLogReader(name string, keys *badger.KeyRegistry, encrypted bool) (*logReader, error) {
	data, err := os.ReadFile(name)
	if err != nil || len(data) < logHead {
		return &logReader{}, err // Badger begins it anew
	}
	id := binary.BigEndian.Uint64(data)
	if encrypted && id == 0 {
		return withoutHead(data)
	}
	key, err := keys.DataKey(id)
	if err != nil {
		return nil, fmt.Errorf("the key of the log %s: %w", filepath.Base(name), err)
	}
	return &logReader{data: data, key: key, at: logHead, used: used(data)}, nil
}

// used is how many bytes come before the zeros at the end, of which there are megabytes.
func used(data []byte) int {
	var zeros [4 << 10]byte
	for bytes.HasSuffix(data, zeros[:]) {
		data = data[:len(data)-len(zeros)]
	}
	return len(bytes.TrimRight(data, "\x00"))
}

// withoutHead is of the log of an encrypted store that names no key. Badger would take it
// for an empty one. Where all of the head is zeros, the power may have failed before the
// first sync: nothing in it was promised, and the reader finds only that something is there.
func withoutHead(data []byte) (*logReader, error) {
	if len(bytes.TrimLeft(data[:logHead], "\x00")) > 0 {
		return nil, errOtherLog
	}
	return &logReader{data: data, at: logHead, used: used(data), headless: true}, nil
}

// hidden is what Badger does not read of a log.
type hidden struct {
	damage  int  // where the first record begins that is not whole; 0: there is none
	behind  bool // whole records stand behind it
	changes int  // how many changes of transactions that were written whole
}

// changesBehindDamage reads a log, and calls found for each change that Badger does not read,
// because a record before the end of its transaction is not whole; an error of found ends it.
// What is left of a transaction that is damaged counts: each change stands for itself, as the
// newest of its key.
func changesBehindDamage(l *logReader, found func(*relic) error) (h hidden, err error) {
	var changes []*relic // of one transaction, of which it is not known yet whether it was written whole
	emit := func() error {
		for _, change := range changes {
			if h.damage == 0 {
				break // Badger reads it
			}
			h.changes++
			if err := found(change); err != nil {
				return err
			}
		}
		changes = nil
		return nil
	}
	for l.hasMore() {
		r := l.next(h.damage)
		if r == nil {
			h.damage = cmp.Or(h.damage, l.at)
			l.skip()
			continue
		}
		h.behind = h.behind || h.damage > 0
		switch {
		case l.key != nil && h.damage == 0 && !isKey(r.key) && !isJunk(r.key) && !bytes.HasPrefix(r.key, badgersOwn):
			return h, errOtherLog
		case len(changes) > 0 && changes[0].version != r.version, r.meta&metaEnds != 0:
			// Badger writes one transaction behind another: so the one before was written whole,
			// also where its end is what is damaged.
			if err := emit(); err != nil {
				return h, err
			}
		}
		if isKey(r.key) { // and nothing of Badger's own, such as the end of a transaction
			changes = append(changes, &r.relic)
		}
	}
	return h, nil
}

// hasMore reports whether anything but zeros comes.
func (l *logReader) hasMore() bool { return l.at < l.used }

// skip goes on to where the next record may begin: behind damage only records of
// transactions are looked for, none of which begins with a zero.
func (l *logReader) skip() {
	l.at = l.used - len(bytes.TrimLeft(l.data[l.at+1:l.used], "\x00"))
}

// couldBegin reports whether a record of a transaction may begin with two bytes: what kind
// it is, and a byte that is for users of Badger, of which the store is none.
func couldBegin(meta, user byte) bool {
	const change = metaTransaction | metaDeleted | metaPointer
	return user == 0 && (meta == metaEnds || meta&metaTransaction != 0 && meta&^change == 0)
}

// next reads the record that begins here, and goes on behind it; nil: none that is whole
// does. Behind damage, which begins at a byte above 0, it is particular: any bytes may come.
func (l *logReader) next(damage int) *logRecord {
	rest := l.data[l.at:]
	if l.headless || len(rest) < 2 || damage > 0 && !couldBegin(rest[0], rest[1]) {
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
