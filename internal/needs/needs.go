// Package needs lets tests say what they need of the machine. It decides
// whether what is lacking skips a test or fails it; only tests call it.
package needs

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Program returns the path of one of the programs, or skips the test. what is
// its name in DEVICEAUTH_REQUIRE.
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

// Lacking skips a test, or fails it where DEVICEAUTH_REQUIRE, a list separated
// by commas, says that this must not be lacking.
func Lacking(t testing.TB, what, message string) {
	t.Helper()
	if strings.Contains(","+os.Getenv("DEVICEAUTH_REQUIRE")+",", ","+what+",") {
		t.Fatal(message)
	}
	t.Skip(message)
}
