package badgerdb

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

// Badger reads its tables in goroutines of its own, and panics there if a table is damaged.
// Such a panic cannot be recovered from. So all tables are verified before Badger opens
// them.

// checkFiles returns an error if a table is damaged, and keeps what Badger would drop.
func (o Options) checkFiles() error {
	file, err := os.Open(filepath.Join(o.Dir, badger.ManifestFilename))
	if errors.Is(err, os.ErrNotExist) {
		return nil // a new database
	}
	if err != nil {
		return err
	}
	defer file.Close()
	list, _, err := badger.ReplayManifestFile(file, 0, badger.DefaultOptions(o.Dir))
	if err != nil {
		return fmt.Errorf("%s: %w", badger.ManifestFilename, err)
	}
	keys, err := o.openKeyRegistry()
	if err != nil {
		return err
	}
	defer keys.Close()
	if err := o.checkTables(list, keys); err != nil {
		return err
	}
	return o.keepForRecovery(list, keys)
}

// checkTables verifies the tables that the MANIFEST lists. Badger removes all others.
func (o Options) checkTables(list badger.Manifest, keys *badger.KeyRegistry) error {
	for id, info := range list.Tables {
		dataKey, err := keys.DataKey(info.KeyID)
		if err != nil {
			return fmt.Errorf("the key of table %d: %w", id, err)
		}
		name := table.NewFilename(id, o.Dir)
		if err := catchPanics(func() error { return checkTable(name, dataKey) }); err != nil {
			return fmt.Errorf("the table %s: %w", filepath.Base(name), err)
		}
	}
	return nil
}

// errTooShort says that a length within a table points beyond its end, as in an incomplete
// copy of the directory.
var errTooShort = errors.New("it ends too soon")

// checkTable verifies all checksums of a table. key is nil if the table is not encrypted.
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

// forEachBlock calls fn for each undamaged block of a table, without its checksum, and
// stops at an error of fn. It returns the number of damaged blocks.
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

// readIndex returns the index of a table, which has the offset of each block. From back to
// front a table is: the length of a checksum, the checksum of the index, the length of the
// index, the index, and the blocks.
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

// decodeBlock returns a block without its checksum. If the table is encrypted, so is the
// checksum.
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

// cutTrailer splits off the part at the end that is followed by its length, a big-endian
// uint32. rest is what comes before that part.
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

// verifyChecksum compares data with its checksum. sum is Badger's protocol buffer of a
// checksum and its algorithm.
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

// decrypt decrypts data, whose nonce follows the ciphertext. AES in counter mode does not
// detect a wrong key: the checksum of the plaintext does.
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
