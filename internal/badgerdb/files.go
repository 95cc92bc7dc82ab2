package badgerdb

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Bytes are not all that can run out. Badger creates a file for each memtable and each
// table, and does not handle errors well: without a memtable it ends the process, and a
// compaction whose tables could not be created counts as successful and drops the old
// tables. So nothing is written or compacted when the creation of files may soon fail.

// spareFiles is how many more files Badger may need at once: a memtable's, its table's, and
// those of the tables that a compaction creates before it closes the old ones.
const spareFiles = 64

var (
	errDescriptors = errors.New("badger store: this process may open too few files more; " +
		"nothing is written until it may: see ulimit -n, or LimitNOFILE= of the unit")
	errInodes = errors.New("badger store: its file system has too few inodes left for new files; nothing is written " +
		"until it has more")
)

// errNoFile returns the error for a system that refuses to create a file.
func errNoFile(dir string, why error) error {
	return fmt.Errorf("badger store: no file can be made in %s: %w; nothing is written until one can be", dir, why)
}

// tryMakeFile creates a file and removes it, which shows more than checkFilesLeft does.
func tryMakeFile(dir string) error {
	if err := checkFilesLeft(dir); err != nil {
		return err
	}
	file, err := os.CreateTemp(dir, "trial-*")
	if err != nil {
		return errNoFile(dir, cause(err))
	}
	if err := errors.Join(file.Close(), os.Remove(file.Name())); err != nil {
		return errNoFile(dir, cause(err))
	}
	return nil
}

// cause returns an error without the path that it names.
func cause(err error) error {
	if at, ok := errors.AsType[*fs.PathError](err); ok {
		return at.Err
	}
	return err
}

// filesIn returns the paths of the files in a directory whose names end in suffix.
func filesIn(dir, suffix string) (paths []string, err error) {
	files, err := os.ReadDir(dir)
	for _, file := range files {
		if !file.IsDir() && strings.HasSuffix(file.Name(), suffix) {
			paths = append(paths, filepath.Join(dir, file.Name()))
		}
	}
	return paths, err
}

// removeEmptyLogs removes empty logs. Badger truncates a log before it removes it; if it
// could truncate and not remove one, it would never open the directory again.
func removeEmptyLogs(dir string) error {
	for _, suffix := range []string{".mem", ".vlog"} {
		names, _ := filesIn(dir, suffix) // Badger reads the directory too, and reports the error
		for _, name := range names {
			info, err := os.Stat(name)
			if err == nil && info.Size() == 0 {
				err = os.Remove(name)
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("badger store: %w", err)
			}
		}
	}
	return nil
}

// compactionRetry is how often a waiting compaction checks whether it may continue.
const compactionRetry = time.Second

// waitForTable blocks a compaction that is about to create a table until it can. There is
// no timeout, because a compaction that fails loses what it compacts. A database that is
// closed meanwhile is given up.
func (s *space) waitForTable(logWait func(error)) {
	for first := true; ; first = false {
		err := s.canMakeTables()
		if err == nil {
			return
		}
		if first {
			logWait(err)
		}
		time.Sleep(compactionRetry)
	}
}

// canMakeTables returns why a compaction cannot create its tables, or nil. It wants as much
// free space as a change does: a compaction can wait, and what it fails to create must be
// written back.
func (s *space) canMakeTables() error { return cmp.Or(s.canMakeFiles(), s.requireFree(s.reserve())) }

// canMakeFiles returns why no file can be created in the directory, or nil.
func (s *space) canMakeFiles() error {
	if err := s.present(); err != nil {
		return err
	}
	return s.tryFile()
}
