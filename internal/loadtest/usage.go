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
	CPU   time.Duration // of user and system
	RSS   int64         // resident, in bytes
	Files int           // open file descriptors
}

// tick is what /proc counts CPU time in: 1/100 s on every system that Go runs on.
const tick = time.Second / 100

// UsageOf reads what a process has used. It is zero where there is no /proc, and where
// the process is gone.
func UsageOf(pid int) (u Usage) {
	dir := fmt.Sprintf("/proc/%d", pid)
	text, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return Usage{}
	}
	// The second field, in parentheses, is the program's name and may have spaces.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 22 {
		return Usage{}
	}
	number := func(field int) int64 { // as proc(5) counts them; the third is the first here
		n, _ := strconv.ParseInt(fields[field-3], 10, 64)
		return n
	}
	u.CPU = time.Duration(number(14)+number(15)) * tick
	u.RSS = number(24) * int64(os.Getpagesize())
	// Another user's process does not show them: then it has none.
	files, _ := os.ReadDir(dir + "/fd")
	u.Files = len(files)
	return u
}

// DiskUsage is what the files below a directory hold, in bytes. The size of a file is as
// it is listed, so what Badger has allocated ahead counts too. A file that vanishes
// meanwhile holds nothing.
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
