// Package needs lets tests declare what they need: programs and services, of which a
// missing one skips the test or fails it; a process of their own; or other tests beside
// them while they wait.
// Only tests use it.
package needs

import (
	"flag"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// RunWaiting runs the tests of a package that wait for servers and timers more than they
// compute: two parallel ones on each core, unless the flag -parallel sets another
// number. It is for TestMain, and returns the exit status.
func RunWaiting(m *testing.M) int {
	flag.Parse()
	cores := runtime.GOMAXPROCS(0)
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == strconv.Itoa(cores) { // the default
		parallel.Value.Set(strconv.Itoa(2 * cores))
	}
	return m.Run()
}

// Program returns the path of the first of the programs that is installed; if none
// is, it calls Lacking. what is their name in DEVICEAUTH_REQUIRE.
func Program(t testing.TB, what string, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	Lacking(t, what, "this test needs "+what+", which is not installed")
	return ""
}

// Lacking skips a test, or fails it if DEVICEAUTH_REQUIRE, a comma-separated list,
// contains what.
func Lacking(t testing.TB, what, message string) {
	t.Helper()
	if strings.Contains(","+os.Getenv("DEVICEAUTH_REQUIRE")+",", ","+what+",") {
		t.Fatal(message)
	}
	t.Skip(message)
}
