package needs

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// OwnProcess runs a test in a process of its own, whose crash does not end the other tests,
// and whose memory is the test's alone: the same test is run there, and its result is this
// one's. args are flags of the package's tests. It reports whether this is that process;
// where it is not, the test has nothing left to do.
func OwnProcess(t *testing.T, args ...string) (here bool) {
	t.Helper()
	// What the test runs must not run it once more.
	const child = "DEVICEAUTH_TEST_PROCESS"
	if os.Getenv(child) != "" {
		return true
	}
	only := "^" + strings.ReplaceAll(t.Name(), "/", "$/^") + "$"
	cmd := exec.Command(os.Args[0], append([]string{"-test.run", only, "-test.v"}, args...)...)
	cmd.Env = append(os.Environ(), child+"=1")
	out, err := cmd.CombinedOutput()
	text := string(out)
	switch { // what the other process reports is the result of this test
	case strings.Contains(text, "--- SKIP"):
		t.Skip(text)
	case err != nil || !strings.Contains(text, "--- PASS"):
		t.Errorf("%v\n%s", err, text[max(0, len(text)-6000):])
	default:
		t.Log(text)
	}
	return false
}
