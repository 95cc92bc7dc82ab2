package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/loadtest"
	"github.com/deviceauth/caddy-deviceauth/internal/needs"
)

// binary is built once and shared by all tests of this package.
var binary string

func TestMain(m *testing.M) {
	if os.Getenv(asGateway) != "" {
		main()
		return
	}
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "caddy-deviceauth")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "caddy")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building: %v\n%s", err, out)
		return 1
	}
	return needs.RunWaiting(m)
}

// A gateway is the built binary running the root Caddyfile on ports of its
// own, with a data directory of its own.
type gateway struct {
	t        *testing.T
	dir      string
	config   string // path of its Caddyfile
	binary   string
	env      []string // more of it
	ports    *strings.Replacer
	url      string // of the gateway itself
	upstream string
	legacy   string
	admin    string
	cmd      *exec.Cmd
	log      *logBuffer
	site     *httptest.Server // of the client that [gateway.trustDocument] describes
	document string           // its client_id
}

// newGateway writes the configuration and starts nothing.
func newGateway(t *testing.T) *gateway {
	t.Helper()
	port := loadtest.FreePorts(4)
	g := &gateway{
		t: t, dir: t.TempDir(), binary: binary, url: "http://localhost:" + port[0], upstream: "http://localhost:" +
			port[1], legacy: "http://localhost:" + port[2], admin: "localhost:" + port[3],
		ports: strings.NewReplacer(":8080", ":"+port[0], ":8081", ":"+port[1], ":8082", ":"+port[2]),
	}
	g.config = filepath.Join(g.dir, "Caddyfile")
	g.configure(func(s string) string { return s })
	return g
}

// start runs a gateway until the test ends.
func start(t *testing.T) *gateway {
	t.Helper()
	g := newGateway(t)
	g.start()
	return g
}

// startWith runs a gateway with further lines in its device_login block, and with
// further variables in its environment.
func startWith(t *testing.T, lines string, env ...string) *gateway {
	t.Helper()
	g := newGateway(t)
	g.env = append(g.env, env...)
	g.configure(func(s string) string {
		if strings.Contains(lines, "upstream ") { // of several each has a redirect URI of its own
			s = strings.Replace(s, g.url+"/device/callback", g.url+"/device/callback/demo", 1)
		}
		return strings.Replace(s, "\tbrand", "\t"+lines+"\n\t\tbrand", 1)
	})
	g.start()
	return g
}

// withLines writes further lines into the device_login block.
func (g *gateway) withLines(lines string) {
	g.t.Helper()
	g.configure(func(s string) string { return strings.Replace(s, "\tbrand", "\t"+lines+"\n\t\tbrand", 1) })
}

// configure writes the root Caddyfile with a change.
func (g *gateway) configure(change func(string) string) {
	g.t.Helper()
	root, err := os.ReadFile("../Caddyfile")
	if err != nil {
		g.t.Fatal(err)
	}
	text := strings.Replace(g.ports.Replace(string(root)), "default_bind", "admin "+g.admin+"\n\tdefault_bind", 1)
	if err := os.WriteFile(g.config, []byte(change(text)), 0o600); err != nil {
		g.t.Fatal(err)
	}
}

// command is the binary with this gateway's directories.
func (g *gateway) command(args ...string) *exec.Cmd {
	cmd := exec.Command(g.binary, args...)
	cmd.Dir = g.dir
	cmd.Env = append(os.Environ(), "HOME="+g.dir, "XDG_DATA_HOME="+g.dir+"/data", "XDG_CONFIG_HOME="+g.dir+"/config")
	cmd.Env = append(cmd.Env, "DISPLAY=", "WAYLAND_DISPLAY=", "BROWSER=") // no test opens a developer's browser
	cmd.Env = append(cmd.Env, g.env...)
	return cmd
}

// start returns when the configuration is served.
func (g *gateway) start() {
	g.t.Helper()
	g.cmd, g.log = g.command("run", "--config", g.config), &logBuffer{serving: make(chan struct{})}
	stderr, err := g.cmd.StderrPipe()
	if err != nil {
		g.t.Fatal(err)
	}
	if err := g.cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); g.log.follow(stderr) }()
	g.t.Cleanup(g.kill)
	select {
	case <-g.log.serving:
	case <-ended:
		g.t.Fatalf("the gateway ended:\n%s", g.log)
	case <-time.After(time.Minute):
		g.t.Fatalf("the gateway serves nothing after a minute:\n%s", g.log)
	}
}

// kill is kill -9, as often as one likes.
func (g *gateway) kill() {
	if g.cmd.ProcessState == nil {
		g.cmd.Process.Signal(syscall.SIGKILL)
		g.cmd.Wait()
	}
	for _, trouble := range []string{"DATA RACE", "panic"} { // the first where GOFLAGS=-race
		if strings.Contains(g.log.String(), trouble) {
			g.t.Errorf("%s in the server's log:\n%s", trouble, g.log)
		}
	}
}

// run runs a command beside the server and returns what it printed.
func (g *gateway) run(args ...string) (string, error) {
	out, err := g.command(args...).CombinedOutput()
	return string(out), err
}

// reload loads the configuration as it is now. The server that was there closes its
// connections, and a client that posts on one of them in that moment hears of a reset, which
// net/http does not repeat (RFC 9110 §9.2.2): those that are idle are given up.
func (g *gateway) reload() (string, error) {
	defer http.DefaultClient.CloseIdleConnections()
	return g.run("reload", "--config", g.config, "--address", g.admin)
}

// logBuffer keeps a server's log and notices when it serves.
type logBuffer struct {
	mu      sync.Mutex
	text    bytes.Buffer
	serving chan struct{}
}

func (l *logBuffer) follow(r io.Reader) {
	logged := false
	for lines := bufio.NewScanner(r); lines.Scan(); {
		l.mu.Lock()
		l.text.Write(append(lines.Bytes(), '\n'))
		l.mu.Unlock()
		if !logged && strings.Contains(lines.Text(), "serving initial configuration") {
			logged = true
			close(l.serving)
		}
	}
}

// wait returns when a line with the text is there.
func (l *logBuffer) wait(t *testing.T, text string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !strings.Contains(l.String(),
		text); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the log never says %s:\n%s", text, l)
		}
	}
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// api calls the guarded API and returns the status and body.
func (g *gateway) api(token string) (int, string) {
	g.t.Helper()
	header := http.Header{}
	if token != "" {
		header.Set("Authorization", "Bearer "+token)
	}
	response, body := g.request("GET", "/api/products", header)
	return response.StatusCode, body
}

// request calls a path of the gateway with headers as they are.
func (g *gateway) request(method, path string, header http.Header) (*http.Response, string) {
	g.t.Helper()
	r, err := http.NewRequest(method, g.url+path, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	r.Header = header
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		g.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return response, string(body)
}
