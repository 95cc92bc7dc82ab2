package main

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// openFiles bounds how many files a running gateway may open, and returns the bound
// that it had.
func (g *gateway) openFiles(most uint64) (before uint64) {
	g.t.Helper()
	var old unix.Rlimit
	if err := unix.Prlimit(g.cmd.Process.Pid, unix.RLIMIT_NOFILE, nil, &old); err != nil {
		g.t.Fatal(err)
	}
	if err := unix.Prlimit(g.cmd.Process.Pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: most, Max: old.Max},
		nil); err != nil {
		g.t.Fatal(err)
	}
	return old.Cur
}

// A gateway without descriptors for its next file answers 503 where it would have to
// write, lets in whom it knows, and goes on by itself when it has some.
//
// protocol 4
func TestGatewayWithoutDescriptorsAnswers503AndHeals(t *testing.T) {
	t.Parallel()
	g := start(t)
	token := g.connect("alice")
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", g.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	most := g.openFiles(uint64(len(files)) + 8) // enough to take a connection
	ask := func() *http.Response {
		response, err := http.PostForm(g.url+"/oauth2/device_authorization", url.Values{"client_id": {"cool-gadget"}})
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response
	}
	until := func(want int) (response *http.Response) {
		t.Helper()
		for end := time.Now().Add(15 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			if response = ask(); response.StatusCode == want {
				return response
			}
			if time.Now().After(end) {
				t.Fatalf("still %d, and not %d", response.StatusCode, want)
			}
		}
	}
	if response := until(http.StatusServiceUnavailable); response.Header.Get("Retry-After") == "" {
		t.Error("it does not say when to come again")
	}
	if answer := g.refresh(token.Refresh); answer.Status != http.StatusServiceUnavailable {
		t.Errorf("a refresh: %+v", answer)
	}
	if status, _ := g.api(token.Access); status != http.StatusOK {
		t.Errorf("the guard: %d", status)
	}
	if !strings.Contains(g.log.String(), "may open too few files more") {
		t.Errorf("the log does not say why:\n%s", g.log)
	}
	g.openFiles(most)
	until(http.StatusOK)
	if answer := g.refresh(token.Refresh); answer.Status != http.StatusOK {
		t.Errorf("a refresh afterwards: %+v", answer)
	}
}
