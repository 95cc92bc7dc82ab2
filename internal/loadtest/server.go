package loadtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// A Server is a process that runs until Stop is called or its context ends.
type Server struct {
	PID     int
	Started time.Duration // from the start of the process to the first response

	cmd  *exec.Cmd     // running until done is closed
	log  string        // path of its output
	done chan struct{} // closed when the process has ended
}

// stopTime is how long a server may take to end after the signal.
const stopTime = 10 * time.Second

// StartCaddy writes a Caddyfile into a directory, runs a Caddy binary with it, and
// returns when the address answers 200. The directory is the process's home, so keys,
// grants and the log are there.
func StartCaddy(ctx context.Context, binary, dir, caddyfile, address string) (*Server, error) {
	config := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(config, []byte(caddyfile), 0o600); err != nil {
		return nil, err
	}
	// Caddy keeps its data and the last configuration in these directories.
	env := append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir+"/data", "XDG_CONFIG_HOME="+dir+"/config")
	s, err := start(ctx, dir, env, binary, "run", "--config", config, "--adapter", "caddyfile")
	if err != nil {
		return nil, err
	}
	began := time.Now()
	for !answers(ctx, address) {
		if err := s.waitsFor(ctx, began, address); err != nil {
			s.Stop()
			return nil, err
		}
	}
	s.Started = time.Since(began)
	return s, nil
}

// waitsFor waits before the next try. It returns an error if the process has ended, or
// a minute has passed.
func (s *Server) waitsFor(ctx context.Context, began time.Time, address string) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.done:
	case <-time.After(2 * time.Millisecond):
		if time.Since(began) < time.Minute {
			return nil
		}
	}
	// The reason is at the end of the log.
	text, _ := os.ReadFile(s.log)
	return fmt.Errorf("%s does not answer 200; the log ends with:\n%s", address, text[max(0, len(text)-2000):])
}

// answers sends one request. A refused connection counts as no response yet.
func answers(ctx context.Context, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, "GET", address, nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// StartRedis runs the redis-server or valkey-server at this path, and returns its
// host and port when it accepts connections. Its append-only file is synced every
// second.
func StartRedis(ctx context.Context, program, dir string) (s *Server, address string, err error) {
	port := FreePorts(1)[0]
	address = net.JoinHostPort("127.0.0.1", port)
	s, err = start(ctx, dir, os.Environ(), program, "--port", port, "--bind", "127.0.0.1", "--dir", dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", "everysec")
	if err != nil {
		return nil, "", err
	}
	// The server accepts connections after it has read its file.
	for began := time.Now(); ; {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			return s, address, nil
		}
		if err := s.waitsFor(ctx, began, address); err != nil {
			s.Stop()
			return nil, "", err
		}
	}
}

// start runs a program. The output goes to a file.
func start(ctx context.Context, dir string, env []string, program string, args ...string) (*Server, error) {
	s := &Server{log: filepath.Join(dir, "log"), done: make(chan struct{})}
	out, err := os.Create(s.log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	s.cmd = exec.CommandContext(ctx, program, args...)
	s.cmd.Dir, s.cmd.Env, s.cmd.Stdout, s.cmd.Stderr = dir, env, out, out
	// Both Caddy and Redis shut down cleanly at an interrupt, which is also what
	// Ctrl-C sends.
	s.cmd.Cancel = func() error { return s.cmd.Process.Signal(os.Interrupt) }
	s.cmd.WaitDelay = stopTime
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	s.PID = s.cmd.Process.Pid
	go func() {
		defer close(s.done)
		s.cmd.Wait() // the exit status does not matter: requests to an ended server fail
	}()
	return s, nil
}

// Stop ends the process, and returns when it has ended. It may be called again.
func (s *Server) Stop() {
	// A process that has already ended takes no signal; that error does not matter.
	s.cmd.Process.Signal(os.Interrupt)
	select {
	case <-s.done:
	case <-time.After(stopTime):
		s.cmd.Process.Kill()
		<-s.done
	}
}

// taken has the ports that were returned, so that none is returned twice.
var taken sync.Map

// FreePorts returns free ports of this machine. They are below the range of outgoing
// connections, of which a run makes many.
func FreePorts(n int) (list []string) {
	for len(list) < n {
		port := strconv.Itoa(10_000 + rand.IntN(20_000))
		// Another program may take the port before the server does; then the server
		// reports it.
		l, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err != nil {
			continue
		}
		l.Close()
		if _, twice := taken.LoadOrStore(port, true); !twice {
			list = append(list, port)
		}
	}
	return list
}
