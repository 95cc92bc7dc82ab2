package badgerstore

import (
	"crypto/aes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
	"google.golang.org/protobuf/proto"
)

// Badger looks into its tables in goroutines of its own, and panics there where what
// it finds is none: nobody can catch that. So they are read before Badger opens them.

// checkFiles refuses a directory with a table that is not whole, and keeps what Badger would
// pass over. key opens the keys of the data; nil: the store is not encrypted.
func (o Options) checkFiles(key []byte) error {
	file, err := os.Open(filepath.Join(o.Dir, badger.ManifestFilename))
	if errors.Is(err, os.ErrNotExist) {
		return nil // a new one
	}
	if err != nil {
		return err
	}
	defer file.Close()
	list, _, err := badger.ReplayManifestFile(file, 0, badger.DefaultOptions(o.Dir))
	if err != nil {
		return fmt.Errorf("%s: %w", badger.ManifestFilename, err)
	}
	keys, err := o.openKeyRegistry(key)
	if err != nil {
		return err
	}
	defer keys.Close()
	if err := o.checkTables(list, keys); err != nil {
		return err
	}
	return o.keepForRecovery(list, keys, key != nil)
}

// checkTables reads the tables that are in the list. Badger removes all others.
func (o Options) checkTables(list badger.Manifest, keys *badger.KeyRegistry) error {
	for id, about := range list.Tables {
		own, err := keys.DataKey(about.KeyID)
		if err != nil {
			return fmt.Errorf("the key of table %d: %w", id, err)
		}
		name := table.NewFilename(id, o.Dir)
		if err := catchPanics(func() error { return checkTable(name, own) }); err != nil {
			return fmt.Errorf("the table %s: %w", filepath.Base(name), err)
		}
	}
	return nil
}

// errTooShort says that a length within a table points beyond its end, as where a
// copy of the directory broke off.
var errTooShort = errors.New("it ends too soon")

// checkTable reads a table and all of its checksums. key is nil where it is plain.
func checkTable(name string, key *pb.DataKey) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	damaged, err := forEachBlock(data, key, func([]byte) error { return nil })
	if err == nil && damaged > 0 {
		err = fmt.Errorf("the checksums of %d blocks are others", damaged)
	}
	return err
}

// openKeyRegistry are those that the data is encrypted with. key opens them; nil: the store is not
// encrypted, and the registry has none. The caller closes the registry.
func (o Options) openKeyRegistry(key []byte) (*badger.KeyRegistry, error) {
	return badger.OpenKeyRegistry(badger.KeyRegistryOptions{Dir: o.Dir, ReadOnly: true, EncryptionKey: key})
}

// forEachBlock calls found for each block of a table that is whole, without its checksum, and
// returns how many are not; an error of found ends it.
func forEachBlock(data []byte, key *pb.DataKey, fn func(text []byte) error) (damaged int, err error) {
	list, err := readIndex(data, key)
	if err != nil {
		return 0, err
	}
	for i := range list.OffsetsLength() {
		var at fb.BlockOffset
		if !list.Offsets(&at, i) || uint64(at.Offset())+uint64(at.Len()) > uint64(len(data)) {
			return 0, errTooShort
		}
		text, err := decodeBlock(data[at.Offset():at.Offset()+at.Len()], key)
		if err != nil {
			damaged++
		} else if err := fn(text); err != nil {
			return damaged, err
		}
	}
	return damaged, nil
}

// readIndex is what says where each block of a table is. From back to front a table is: the
// length of a checksum, the checksum of the index, the length of the index, the index, and
// the blocks.
func readIndex(data []byte, key *pb.DataKey) (*fb.TableIndex, error) {
	rest, sum, err := cutTrailer(data)
	if err != nil {
		return nil, err
	}
	_, index, err := cutTrailer(rest)
	if err != nil {
		return nil, err
	}
	if err := verifyChecksum(index, sum); err != nil {
		return nil, err
	}
	if index, err = decrypt(index, key); err != nil {
		return nil, err
	}
	return fb.GetRootAsTableIndex(index, 0), nil
}

// decodeBlock is a block without its checksum, which with encryption is within what is encrypted.
func decodeBlock(data []byte, key *pb.DataKey) (text []byte, err error) {
	block, err := decrypt(data, key)
	if err != nil {
		return nil, err
	}
	text, sum, err := cutTrailer(block)
	if err != nil {
		return nil, err
	}
	return text, verifyChecksum(text, sum)
}

// cutTrailer cuts off what stands last, before its length. part is that; rest is what comes
// before it. Badger writes lengths as 32 bits, big end first.
func cutTrailer(data []byte) (rest, part []byte, err error) {
	if len(data) < 4 {
		return nil, nil, errTooShort
	}
	end := len(data) - 4
	length := binary.BigEndian.Uint32(data[end:])
	if uint64(length) > uint64(end) {
		return nil, nil, errors.New("it has another end than a table's")
	}
	return data[:end-int(length)], data[end-int(length) : end], nil
}

// verifyChecksum compares a checksum with what it is of. sum is the protocol buffer in which
// Badger keeps it, with its algorithm.
func verifyChecksum(data, sum []byte) error {
	var want pb.Checksum
	if err := proto.Unmarshal(sum, &want); err != nil || len(sum) == 0 {
		return errors.New("it has no checksum")
	}
	if y.VerifyChecksum(data, &want) != nil {
		return errors.New("its checksum is another")
	}
	return nil
}

// decrypt decrypts: the nonce stands behind the text. AES in counter mode has no checksum,
// so a wrong key is noticed by the checksum of what comes out.
func decrypt(data []byte, key *pb.DataKey) ([]byte, error) {
	if key == nil {
		return data, nil
	}
	end := len(data) - aes.BlockSize
	if end < 0 {
		return nil, errTooShort
	}
	return y.XORBlockAllocate(data[:end], key.Data, data[end:])
}
