// Package redistest runs Redis servers for tests: a single one, a Cluster of
// three, or one with a Sentinel. Each server has a free port and keeps its
// data in a directory of the test. Only tests use it.
package redistest

import (
	"context"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/deviceauth/caddy-deviceauth/internal/needs"
)

// A Server is one redis-server with an append-only file that is synced on
// every write. It is killed at the end of the test.
type Server struct {
	t    testing.TB
	dir  string
	port int
	args []string
	cmd  *exec.Cmd
}

// Start starts a server. args are further options of redis-server, such as
// --requirepass. The server listens on loopback alone. Where no redis-server
// or valkey-server is installed, the test is skipped, or fails if
// DEVICEAUTH_REQUIRE names redis.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	s := &Server{t: t, dir: t.TempDir(), port: freePort(t), args: args}
	t.Cleanup(s.Kill)
	s.Start()
	return s
}

// URL returns the server's URL.
func (s *Server) URL() string { return "redis://" + s.Addr() }

// Addr returns host and port of the server.
func (s *Server) Addr() string { return "127.0.0.1:" + strconv.Itoa(s.port) }

// Start starts the server with the data that it has on disk, and returns when
// it answers. Because of appendfsync always, a test that kills the server may
// expect that every acknowledged write is still there.
func (s *Server) Start() {
	s.t.Helper()
	s.run(append([]string{"--port", strconv.Itoa(s.port), "--bind", "127.0.0.1", "--dir", s.dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", "always"}, s.args...)...)
	s.until("the server answers", func(ctx context.Context, c *redis.Client) bool { return answers(c.Ping(ctx).Err()) })
}

// answers reports whether the server responds, also if it requires a
// password.
func answers(err error) bool {
	return err == nil || strings.HasPrefix(err.Error(), "NOAUTH")
}

// run starts the program, and fails the test if it cannot. It does not wait
// until the server responds; until does.
func (s *Server) run(args ...string) {
	s.t.Helper()
	s.cmd = exec.Command(needs.Program(s.t, "redis", "redis-server", "valkey-server"), args...)
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
}

// Kill kills the server with SIGKILL. It may be called again.
func (s *Server) Kill() {
	if s.cmd != nil && s.cmd.ProcessState == nil {
		s.cmd.Process.Signal(syscall.SIGKILL)
		s.cmd.Wait()
	}
}

// Stop shuts the server down. The server writes its files and closes its
// connections, as at a planned restart.
func (s *Server) Stop() {
	s.cmd.Process.Signal(syscall.SIGTERM)
	s.cmd.Wait()
}

// Pause suspends the server without closing its connections, until Resume. To
// clients this looks like a network that loses all packets: connections stay
// open and get no response.
func (s *Server) Pause() { s.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume lets a paused server continue. Commands that arrived during the pause
// are then carried out.
func (s *Server) Resume() { s.cmd.Process.Signal(syscall.SIGCONT) }

// Replicated returns when the replica has all data of the server. A test that
// fails over earlier would lose acknowledged writes, which is how Redis works
// and not what is tested.
func (s *Server) Replicated() {
	s.t.Helper()
	s.until("the replica has caught up", func(ctx context.Context, c *redis.Client) bool {
		info := c.Info(ctx, "replication").Val()
		_, offset, _ := strings.Cut(info, "master_repl_offset:")
		offset, _, _ = strings.Cut(offset, "\r")
		return offset != "" && strings.Contains(info, ",offset="+offset+",")
	})
}

// with calls a function with a client of the server. The client is a new one
// each time, so that no connection from before a restart is used.
func (s *Server) with(do func(*redis.Client)) {
	client := redis.NewClient(&redis.Options{Addr: s.Addr()})
	defer client.Close()
	do(client)
}

// until polls every 20 ms until a condition holds, and fails the test after
// 20 s. Other processes cannot tell otherwise that they are ready.
func (s *Server) until(what string, is func(context.Context, *redis.Client) bool) {
	s.t.Helper()
	s.with(func(c *redis.Client) {
		ctx := context.Background()
		for deadline := time.Now().Add(20 * time.Second); !is(ctx, c); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				s.t.Fatalf("%s: not after 20 s", what)
			}
		}
	})
}

// freePort returns a port that is free at this moment. Another process may
// take it before the server does; this is too rare to need a retry.
func freePort(t testing.TB) int {
	t.Helper()
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		l.Close()
		if port <= 55535 { // nodes of a Cluster use port + 10000 as well
			return port
		}
	}
}

// Empty deletes all data of the server (FLUSHALL).
func (s *Server) Empty() {
	s.t.Helper()
	s.with(func(c *redis.Client) {
		if err := c.FlushAll(context.Background()).Err(); err != nil {
			s.t.Fatal(err)
		}
	})
}

// Spoil replaces the value of every string key that matches a pattern, as a
// mistaken operator or another program does, and returns how many it
// replaced. The time to live of the keys stays.
func (s *Server) Spoil(pattern, value string) (spoiled int) {
	s.t.Helper()
	s.with(func(c *redis.Client) {
		ctx := context.Background()
		keys, err := c.Keys(ctx, pattern).Result()
		for _, key := range keys {
			if kind := c.Type(ctx, key).Val(); kind == "string" {
				err = c.Set(ctx, key, value, redis.KeepTTL).Err()
				spoiled++
			}
			if err != nil {
				break
			}
		}
		if err != nil {
			s.t.Fatal(err)
		}
	})
	return spoiled
}

// An Operator is a connection that was opened before a fault, for commands to
// a server that accepts no new connections. A server that has reached
// maxclients or is out of descriptors refuses also those of a test that wants
// to end the fault.
type Operator struct {
	t      testing.TB
	client *redis.Client
}

// Operator opens such a connection. It is closed at the end of the test.
func (s *Server) Operator() *Operator {
	client := redis.NewClient(&redis.Options{Addr: s.Addr(), PoolSize: 1, MaxRetries: 10})
	s.t.Cleanup(func() { client.Close() })
	return &Operator{t: s.t, client: client}
}

// Forget deletes keys. It does nothing if the server is down.
func (o *Operator) Forget(keys ...string) { o.client.Del(context.Background(), keys...) }

// Set changes a setting of the server. name and value are those of CONFIG
// SET.
func (o *Operator) Set(name, value string) {
	if err := o.client.ConfigSet(context.Background(), name, value).Err(); err != nil {
		o.t.Errorf("%s: %v", name, err)
	}
}

// Disconnect closes all client connections except this one.
func (o *Operator) Disconnect() {
	o.client.ClientKillByFilter(context.Background(), "TYPE", "normal", "SKIPME", "yes")
}

// Forget deletes one key, as an eviction does. The test fails if the key does
// not exist, because it would test nothing.
func (s *Server) Forget(key string) {
	s.t.Helper()
	s.with(func(c *redis.Client) {
		if n, err := c.Del(context.Background(), key).Result(); err != nil || n != 1 {
			s.t.Fatalf("%s: %d keys, %v", key, n, err)
		}
	})
}
