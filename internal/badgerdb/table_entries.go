package badgerdb

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

// Badger does not open a table that the MANIFEST lacks, so the entries of kept tables are
// read here. The layout of a table is described in tables.go.

// A rawEntry is a version of a key, as read from a table or a WAL. Its value may be a
// pointer into the value log, see [readValueLog].
type rawEntry struct {
	key     []byte
	version uint64
	value   y.ValueStruct
}

// Bits of the first byte of a value, in Badger's format.
const (
	metaDeleted = 1 << 0
	metaPointer = 1 << 1 // the value is in the value log
)

func (e *rawEntry) deleted() bool { return e.value.Meta&metaDeleted != 0 }

// errNoKey says that a table is damaged, or encrypted with a data key that is gone.
var errNoKey = errors.New("no key of the store fits")

// errBlockFound ends the search for an undamaged block.
var errBlockFound = errors.New("a block is whole")

// findTableKey finds the data key of a table that the MANIFEST lacks. Badger numbers data
// keys from 1. They are tried in order until a block has the right checksum; one block is
// enough. Id 0 means that the table is not encrypted.
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

// readTable calls fn for each entry of a table, in the order of the keys, and stops at an
// error of fn. It returns the number of damaged blocks.
func readTable(name string, key *pb.DataKey, fn func(*rawEntry) error) (damaged int, err error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	return forEachBlock(data, key, func(text []byte) error { return readBlock(text, fn) })
}

// readBlock calls fn for each entry of a block, which is given without its checksum. A
// block is its entries, their offsets, and their number. An entry is the number of bytes
// that its key shares with the block's first key, the number of further bytes, these bytes,
// and the value.
func readBlock(text []byte, fn func(*rawEntry) error) error {
	end := len(text) - 4 // of the number of entries; the offsets come before it
	count := int(binary.BigEndian.Uint32(text[end:]))
	begins := y.BytesToU32Slice(text[end-4*count : end])
	var first []byte
	for i, begin := range begins {
		stop := end - 4*count
		if i+1 < count {
			stop = int(begins[i+1])
		}
		entry := text[begin:stop]
		// The header of an entry is a struct copied from memory, so its byte order is that
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

// readValueLog reads a value from the value log. pointer is the number of a value log file,
// a length and an offset. The file begins with the id of its data key and the first bytes
// of each nonce, which the offset completes. The value is preceded by a header and its key.
func readValueLog(dir string, pointer []byte, keys *badger.KeyRegistry) ([]byte, error) {
	const head, nonce = 20, 12
	part := func(i int) uint32 { return binary.NativeEndian.Uint32(pointer[4*i:]) }
	log, length, at := part(0), part(1), part(2)
	file, err := os.Open(filepath.Join(dir, fmt.Sprintf("%06d.vlog", log)))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	header, data := make([]byte, head), make([]byte, length)
	_, err1 := file.ReadAt(header, 0)
	_, err2 := file.ReadAt(data, int64(at))
	key, err3 := keys.DataKey(binary.BigEndian.Uint64(header))
	if err := cmp.Or(err1, err2, err3); err != nil {
		return nil, err
	}
	keyLength, n := binary.Uvarint(data[2:])
	valueLength, m := binary.Uvarint(data[2+n:])
	_, o := binary.Uvarint(data[2+n+m:])
	text := data[2+n+m+o:]
	if key != nil {
		iv := binary.BigEndian.AppendUint32(header[head-nonce:head:head], at)
		if text, err = y.XORBlockAllocate(text, key.Data, iv); err != nil {
			return nil, err
		}
	}
	return text[keyLength : keyLength+valueLength], nil
}
