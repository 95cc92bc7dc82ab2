package badgerstore

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"sync"
	_ "unsafe" // for go:linkname

	"github.com/dgraph-io/badger/v4/table"
	"golang.org/x/sys/unix"
)

// Badger writes a new table by copying it into memory that is mapped to a file without a
// single block. Where the disk is full, the kernel answers the copy with SIGBUS: that is no
// error and no panic but the end of the process, in a goroutine of Badger's. How much is left
// cannot be asked late enough, because another program may take all of it between question
// and copy. So the blocks are allocated when the file is mapped: then a full disk is an
// error, and Badger makes the table again a second later.
//
// Badger has no option for that, and maps all files by [unix.Mmap]. What that calls is the
// only place where the file is known and nothing has been written to it.

// mapper is the variable of package unix that Mmap calls, up to the field that is needed
// here. Where a later version of that package has no such variable, this one is nil.
//
//go:linkname mapper golang.org/x/sys/unix.mapper
var mapper *struct {
	sync.Mutex
	active map[*byte][]byte
	mmap   mmapFunc
}

type mmapFunc func(addr, length uintptr, prot, flags, fd int, offset int64) (uintptr, error)

// preallocatesTables reports whether the blocks of new tables are allocated. The variable is
// set before main, when nothing is mapped yet, because Mmap reads it without a lock.
var preallocatesTables = func() bool {
	if mapper == nil || mapper.mmap == nil {
		return false
	}
	system := mapper.mmap
	// The function's own name shows that the struct above is laid out as the one of package unix.
	f := runtime.FuncForPC(reflect.ValueOf(system).Pointer())
	if f == nil || f.Name() != "golang.org/x/sys/unix.mmap" {
		return false
	}
	mapper.mmap = func(addr, length uintptr, prot, flags, fd int, offset int64) (uintptr, error) {
		if prot&unix.PROT_WRITE != 0 && flags&unix.MAP_SHARED != 0 {
			if err := preallocateTable(fd, int64(length)); err != nil {
				return 0, err
			}
		}
		return system(addr, length, prot, flags, fd, offset)
	}
	return true
}()

// preallocateTable allocates the blocks of a file that is a table of Badger's and has none; a
// file without its blocks is removed, since Badger leaves it there.
func preallocateTable(fd int, size int64) error {
	var about unix.Stat_t
	if err := unix.Fstat(fd, &about); err != nil || about.Blocks > 0 || about.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil // whatever it is, it is no new table
	}
	name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return nil
	}
	if _, isTable := table.ParseFileID(name); !isTable {
		return nil
	}
	err = fallocate(fd, 0, size)
	if err != nil {
		os.Remove(name)
	}
	return err
}

// fallocate allocates the blocks of a file. A file system that cannot do that is no error.
func fallocate(fd int, mode uint32, size int64) error {
	for {
		switch err := unix.Fallocate(fd, mode, 0, size); {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
			return nil
		default:
			return err
		}
	}
}
