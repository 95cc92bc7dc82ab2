//go:build linux || darwin || freebsd

package badgerdb

import (
	"strings"
	"syscall"
	"testing"
)

// Another process is only one reason why a directory cannot be locked.
func TestLockErrorSaysWhy(t *testing.T) {
	t.Parallel()
	o := Options{Dir: "/mnt/nfs/store"}
	for errno, want := range map[syscall.Errno]string{
		syscall.EWOULDBLOCK: "is in use by another process", syscall.ENOLCK: "cannot be locked: no locks available",
		syscall.EOPNOTSUPP: "cannot be locked",
	} {
		if err := o.lockError(errno); !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), o.Dir) {
			t.Errorf("%v: %v", errno, err)
		}
	}
}
