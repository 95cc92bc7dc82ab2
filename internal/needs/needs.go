// Package needs lets tests declare which programs and services they need. It decides
// whether a missing one skips the test or fails it. Only tests use it.
package needs

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

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
