package badgerdb

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"runtime"
	"sync"
	_ "unsafe" // for go:linkname

	"github.com/dgraph-io/badger/v4/table"
	"golang.org/x/sys/unix"
)

// Badger writes a new table by copying it into memory that is mapped to a file without a
// single block. If the disk is full, the kernel answers the copy with SIGBUS: this is not
// an error or a panic but ends the process, in a goroutine of Badger's. Checking the free
// space is not enough, because another program may take all of it between check and copy.
// So the blocks are allocated when the file is mapped: then a full disk is an error,
// and Badger retries the table a second later.
//
// Badger has no option for that. It maps all files by [unix.Mmap], and what Mmap calls is
// the only place where the file is known and nothing has been written to it.

// mapper is the variable of package unix that Mmap calls, with its fields up to mmap. If a
// later version of that package has no such variable, this one is nil.
//
//go:linkname mapper golang.org/x/sys/unix.mapper
var mapper *struct {
	sync.Mutex
	active map[*byte][]byte
	mmap   mmapFunc
}

type mmapFunc func(addr, length uintptr, prot, flags, fd int, offset int64) (uintptr, error)

// preallocatesTables reports whether the blocks of new tables are allocated. It is
// initialized before main, when nothing is mapped yet, because Mmap reads mapper.mmap
// without a lock.
var preallocatesTables = func() bool {
	if mapper == nil || mapper.mmap == nil {
		return false
	}
	system := mapper.mmap
	// The name of the function shows that the struct above has the layout of package
	// unix's.
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

// preallocateTable allocates the blocks of a file if it is one of Badger's tables and has
// no data yet. If that fails it removes the file, which Badger would leave there, and frees
// the blocks that were allocated: Badger does not close the file.
func preallocateTable(fd int, size int64) error {
	name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return nil
	}
	if _, isTable := table.ParseFileID(name); !isTable {
		return nil
	}
	// A file system that does not know which parts of a file have data reports that all do.
	if _, err := unix.Seek(fd, 0, unix.SEEK_DATA); !errors.Is(err, unix.ENXIO) {
		return nil
	}
	err = fallocate(fd, 0, size)
	if err != nil {
		unix.Ftruncate(fd, 0)
		os.Remove(name)
	}
	return err
}

// errNotPreallocated is logged at the start.
var errNotPreallocated = errors.New("the blocks of new tables are not allocated, because golang.org/x/sys/unix is " +
	"another version than this one knows: a disk that fills within milliseconds can end the process")

// checkPreallocation returns an error if the blocks of new tables are not allocated.
func checkPreallocation() error {
	if preallocatesTables {
		return nil
	}
	return errNotPreallocated
}

// fallocate allocates the blocks of a file. Only a lack of blocks is an error: file systems
// that cannot allocate blocks answer with various errors.
func fallocate(fd int, mode uint32, size int64) error {
	for {
		switch err := unix.Fallocate(fd, mode, 0, size); {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
			return err
		default:
			return nil
		}
	}
}

// preallocate creates a file, unless it exists, and has the file system reserve size bytes
// for it, without a change of its length. On a file system that cannot reserve blocks, only
// the checks of the free space protect the database.
func preallocate(file string, size int64) error {
	fd, err := unix.Open(file, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return &fs.PathError{Op: "open", Path: file, Err: err}
	}
	defer unix.Close(fd)
	if err := fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, size); err != nil {
		return &fs.PathError{Op: "fallocate", Path: file, Err: err}
	}
	return nil
}
