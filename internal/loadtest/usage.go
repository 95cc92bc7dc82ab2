package loadtest

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Usage is what a process has used so far.
type Usage struct {
	CPU   time.Duration // user and system
	RSS   int64         // resident memory in bytes
	Files int           // number of open file descriptors
}

// tick is the unit of CPU time in /proc: 1/100 s on every system that Go runs on.
const tick = time.Second / 100

// UsageOf returns the usage of a process. It is zero without /proc, and if the
// process has ended.
func UsageOf(pid int) (u Usage) {
	dir := fmt.Sprintf("/proc/%d", pid)
	text, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return Usage{}
	}
	// The second field, in parentheses, is the program's name and may contain spaces.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 22 {
		return Usage{}
	}
	number := func(field int) int64 { // numbered as in proc(5); the first of fields is the third
		n, _ := strconv.ParseInt(fields[field-3], 10, 64)
		return n
	}
	u.CPU = time.Duration(number(14)+number(15)) * tick
	u.RSS = number(24) * int64(os.Getpagesize())
	// The files of another user's process cannot be read; then Files is zero.
	files, _ := os.ReadDir(dir + "/fd")
	u.Files = len(files)
	return u
}

// DiskUsage returns the size of all files below a directory, in bytes. It adds the
// sizes that the file system lists, so space that Badger has allocated ahead counts.
// A file that vanishes meanwhile counts as zero.
func DiskUsage(dir string) (sum int64) {
	filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		if info, err := d.Info(); err == nil {
			sum += info.Size()
		}
		return nil
	})
	return sum
}
