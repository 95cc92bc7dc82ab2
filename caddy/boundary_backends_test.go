package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/loadtest"
	"github.com/deviceauth/caddy-deviceauth/internal/needs"
)

// Backends of different make. Each serves a secret at /v2/secret, also under
// what its kind takes for that, and tells what reached it.

// A seen request is what a backend says reached it.
type seen struct {
	Secret   bool     `json:"secret"`
	Target   string   `json:"target"`
	Headers  []string `json:"headers"` // names and values, one after the other
	Trailers []string `json:"trailers"`
}

// startBackends returns the addresses of all makes that this machine has. Go and
// Node there must be; nginx and PHP where they are installed.
func startBackends(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{"go": startGoBackend(t), "node": startNodeBackend(t)}
	if path, err := exec.LookPath("nginx"); err == nil {
		all["nginx"] = startNginx(t, path)
	}
	if path, err := exec.LookPath("php"); err == nil {
		all["php"] = startPHP(t, path)
	}
	return all
}

var isSecret = regexp.MustCompile(`(?i)^/+v2/+secret/?$`)

func startGoBackend(t *testing.T) string {
	t.Helper()
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, 1<<20)) // the trailers come after it
		s := seen{Target: r.RequestURI}
		for name, values := range r.Header {
			for _, value := range values {
				s.Headers = append(s.Headers, name, value)
			}
		}
		for name, values := range r.Trailer {
			s.Trailers = append(s.Trailers, name, strings.Join(values, ","))
		}
		for _, path := range goReadings(r) {
			s.Secret = s.Secret || isSecret.MatchString(path)
		}
		json.NewEncoder(w).Encode(s)
	}))
	t.Cleanup(backend.Close)
	return address(backend)
}

// goReadings are what frameworks of several languages make of a path, written
// down here apart from the gateway's own list.
func goReadings(r *http.Request) []string {
	raw, _, _ := strings.Cut(r.RequestURI, "?")
	list := []string{raw, r.URL.Path}
	if u, err := url.Parse(r.RequestURI); err == nil {
		list = append(list, u.Path)
	}
	unescape := func(s string) string {
		if plain, err := url.PathUnescape(s); err == nil {
			return plain
		}
		return s
	}
	twice := unescape(unescape(raw))
	list = append(list, unescape(raw), twice, strings.NewReplacer(`\`, "/").Replace(twice))
	for _, p := range list[:len(list):len(list)] {
		noParams := regexp.MustCompile(`;[^/]*`).ReplaceAllString(p, "")
		cut := regexp.MustCompile(`[?#\x00].*`).ReplaceAllString(p, "")
		behind := regexp.MustCompile(`(?i)^.*?\.php(/.*)$`).ReplaceAllString(p, "$1")
		windows := regexp.MustCompile(`(?:[. ]+|::\$[^/]*)(/|$)`).ReplaceAllString(p, "$1")
		list = append(list, windows, noParams, filepath.Clean(noParams), filepath.Clean(p), cut, behind)
	}
	return list
}

func startNodeBackend(t *testing.T) string {
	t.Helper()
	cmd := exec.Command(needs.Program(t, "node", "node"), "testdata/backends/node.mjs")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	port, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return "127.0.0.1:" + strings.TrimSpace(port)
}

func startNginx(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile("testdata/backends/nginx.conf")
	if err != nil {
		t.Fatal(err)
	}
	dir, port := t.TempDir(), loadtest.FreePorts(1)[0]
	config := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(config, []byte(strings.NewReplacer("DIR", dir, "PORT", port).Replace(string(text))),
		0o600); err != nil {
		t.Fatal(err)
	}
	os.Chmod(dir, 0o755)
	return startListening(t, "127.0.0.1:"+port, exec.Command(path, "-c", config, "-p", dir, "-e", "stderr"))
}

func startPHP(t *testing.T, path string) string {
	t.Helper()
	at := "127.0.0.1:" + loadtest.FreePorts(1)[0]
	return startListening(t, at, exec.Command(path, "-S", at, "testdata/backends/router.php"))
}

// startListening starts a server and returns when it answers.
func startListening(t *testing.T, at string, cmd *exec.Cmd) string {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		response, err := http.Get("http://" + at + "/")
		if err == nil {
			response.Body.Close()
			return at
		}
		if time.Now().After(end) {
			t.Fatal(fmt.Errorf("%s does not answer: %w", cmd.Path, err))
		}
	}
}
