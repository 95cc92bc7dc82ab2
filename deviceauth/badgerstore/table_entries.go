package badgerstore

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/y"
)

// Badger opens no table that is not in its list. What is in one that was kept is read
// here; tables.go says how a table is laid out.

// A rawEntry is a version of a key in a table that was kept. Its value may be the pointer
// to one, see [readValueLog].
type rawEntry struct {
	key     []byte
	version uint64
	value   y.ValueStruct
}

// What Badger says of a value, in its first byte.
const (
	metaDeleted = 1 << 0
	metaPointer = 1 << 1 // it is in a value log
)

func (e *rawEntry) deleted() bool { return e.value.Meta&metaDeleted != 0 }

// errNoKey says that a table is damaged, or encrypted with a key that has gone.
var errNoKey = errors.New("no key of the store fits")

// errBlockFound ends the search for a block that is whole.
var errBlockFound = errors.New("a block is whole")

// findTableKey finds the key of a table, whose list has gone: Badger numbers them from 1. It
// tries one after the other, as the checksums of the blocks tell which one is right: one
// block that is whole is enough. Number 0 is no key, of a table that is not encrypted.
func findTableKey(name string, keys *badger.KeyRegistry) (*pb.DataKey, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	for id := uint64(0); ; id++ {
		key, err := keys.DataKey(id)
		if err != nil {
			return nil, errNoKey
		}
		err = catchPanics(func() error {
			_, err := forEachBlock(data, key, func([]byte) error { return errBlockFound })
			return err
		})
		if errors.Is(err, errBlockFound) {
			return key, nil
		}
	}
}

// readTable reads a table, and calls found for each of its entries in the order of their keys;
// an error of found ends it. It returns how many blocks of the table are damaged.
func readTable(name string, key *pb.DataKey, fn func(*rawEntry) error) (damaged int, err error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	return forEachBlock(data, key, func(text []byte) error { return readBlock(text, fn) })
}

// readBlock reads a block without its checksum: entries, where each begins, and how many they
// are. An entry is how many bytes its key shares with the first one's, how many come next, and
// the value.
func readBlock(text []byte, fn func(*rawEntry) error) error {
	end := len(text) - 4 // where the count stands; before it are the beginnings
	count := int(binary.BigEndian.Uint32(text[end:]))
	begins := y.BytesToU32Slice(text[end-4*count : end])
	var first []byte
	for i, begin := range begins {
		stop := end - 4*count
		if i+1 < count {
			stop = int(begins[i+1])
		}
		entry := text[begin:stop]
		// The head of an entry is the memory of a struct, so its bytes are in the order
		// of the machine that wrote it.
		shared, own := binary.NativeEndian.Uint16(entry), binary.NativeEndian.Uint16(entry[2:])
		key := append(append([]byte(nil), first[:shared]...), entry[4:4+own]...)
		if i == 0 {
			first = key
		}
		// Badger appends the version to the key.
		e := &rawEntry{key: y.ParseKey(key), version: y.ParseTs(key)}
		e.value.Decode(entry[4+own:])
		if err := fn(e); err != nil {
			return err
		}
	}
	return nil
}

// readValueLog reads a value that is in a value log: it is pointed to by the number of the
// log, a length and an offset. The log begins with the number of its key, and what
// comes before the offset in each nonce. The value has a head and its key before it.
func readValueLog(dir string, pointer []byte, keys *badger.KeyRegistry) ([]byte, error) {
	const head, nonce = 20, 12
	part := func(i int) uint32 { return binary.NativeEndian.Uint32(pointer[4*i:]) }
	log, length, at := part(0), part(1), part(2)
	file, err := os.Open(filepath.Join(dir, fmt.Sprintf("%06d.vlog", log)))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	about, data := make([]byte, head), make([]byte, length)
	_, err1 := file.ReadAt(about, 0)
	_, err2 := file.ReadAt(data, int64(at))
	key, err3 := keys.DataKey(binary.BigEndian.Uint64(about))
	if err := cmp.Or(err1, err2, err3); err != nil {
		return nil, err
	}
	keyLength, n := binary.Uvarint(data[2:])
	valueLength, m := binary.Uvarint(data[2+n:])
	_, o := binary.Uvarint(data[2+n+m:])
	text := data[2+n+m+o:]
	if key != nil {
		iv := binary.BigEndian.AppendUint32(about[head-nonce:head:head], at)
		if text, err = y.XORBlockAllocate(text, key.Data, iv); err != nil {
			return nil, err
		}
	}
	return text[keyLength : keyLength+valueLength], nil
}
