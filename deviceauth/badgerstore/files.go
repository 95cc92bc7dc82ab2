package badgerstore

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

// Bytes are not all that can run out. Badger makes a file for each memtable and each
// table, and takes no refusal: without a memtable it ends the process, and a merge
// whose tables could not be made it takes for done, and drops the old ones. So
// nothing is written, and nothing merged, where files may soon not be made.

// spareFiles is how many more files Badger may need at once: a memtable's, its table's,
// and those of the tables that a merge makes before it lets go of the old ones.
const spareFiles = 64

var (
	errDescriptors = errors.New("badger store: this process may open too few files more; " +
		"nothing is written until it may: see ulimit -n, or LimitNOFILE= of the unit")
	errInodes = errors.New("badger store: its file system has too few inodes left for new files; nothing is written " +
		"until it has more")
)

// errNoFile says that the system lets nobody make a file.
func errNoFile(dir string, why error) error {
	return fmt.Errorf("badger store: no file can be made in %s: %w; nothing is written until one can be", dir, why)
}

// tryMakeFile makes a file and removes it, which tells more than any question.
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

// cause is an error without the path that it names.
func cause(err error) error {
	if at, ok := errors.AsType[*fs.PathError](err); ok {
		return at.Err
	}
	return err
}

// filesIn returns the files in a directory whose names end in a suffix, with their paths.
func filesIn(dir, suffix string) (paths []string, err error) {
	files, err := os.ReadDir(dir)
	for _, file := range files {
		if !file.IsDir() && strings.HasSuffix(file.Name(), suffix) {
			paths = append(paths, filepath.Join(dir, file.Name()))
		}
	}
	return paths, err
}

// removeEmptyLogs removes logs without a byte. Badger cuts a log before it removes it; one
// that it could cut and not remove would keep it from being opened ever again.
func removeEmptyLogs(dir string) error {
	for _, suffix := range []string{".mem", ".vlog"} {
		names, _ := filesIn(dir, suffix) // Badger reads the directory too, and says why it cannot be read
		for _, name := range names {
			about, err := os.Stat(name)
			if err == nil && about.Size() == 0 {
				err = os.Remove(name)
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("badger store: %w", err)
			}
		}
	}
	return nil
}

// compactionRetry is how often a merge that waits looks whether it may go on.
const compactionRetry = time.Second

// waitForTable holds up a merge that is about to make a table, until it can. It has no
// end but that: a merge that fails loses what it merges. A store that is closed
// meanwhile is given up.
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

// canMakeTables says why a merge cannot make its tables. It wants as much to be left as a change
// does: it can wait, and what it cannot make has to be written back.
func (s *space) canMakeTables() error { return cmp.Or(s.canMakeFiles(), s.requireFree(s.reserve())) }

// canMakeFiles says why no file can be made in the directory that was opened.
func (s *space) canMakeFiles() error {
	if s.present != nil {
		if err := s.present(); err != nil {
			return err
		}
	}
	return s.tryFile()
}
