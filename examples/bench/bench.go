package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/loadtest"
)

// A bench is what all sections share: the binary, a temporary directory, and the
// backend that is measured through.
type bench struct {
	options
	dir     string       // is removed at the end
	binary  string       // path: ./caddy of the working tree
	backend string       // host and port: 1 KB of JSON at every path
	out     io.Writer    // for the table and messages
	count   int          // of the directories that were made
	http    *http.Server // the backend; nil: it was not started
}

// modulePath is the path of this module, with which the go command finds the package to
// build from any directory of the module.
const modulePath = "github.com/deviceauth/caddy-deviceauth"

// open builds the gateway and starts the backend.
func open(ctx context.Context, o options, out io.Writer) (b *bench, err error) {
	b = &bench{options: o, out: out}
	if b.dir, err = os.MkdirTemp(o.dir, "deviceauth-bench"); err != nil {
		return nil, err
	}
	// The binary is always built from the working tree, even if there is an older
	// one.
	b.binary = filepath.Join(b.dir, "caddy")
	if err = build(ctx, b.binary); err == nil {
		err = b.serve()
	}
	if err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

// build builds ./caddy, with further flags of the go command. The go command caches
// compiled packages, so mostly it only links.
func build(ctx context.Context, binary string, flags ...string) error {
	args := append(append([]string{"build", "-o", binary}, flags...), modulePath+"/caddy")
	if out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("building ./caddy: %w\n%s", err, out)
	}
	return nil
}

// serve starts the backend. It is in this process, so that its CPU time is not
// counted as the server's.
func (b *bench) serve() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	// 1 KB is the size of a small API response.
	body, err := json.Marshal(map[string]string{"product": "Chai", "text": strings.Repeat("x", 990)})
	if err != nil {
		return err
	}
	b.backend = l.Addr().String()
	b.http = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/yes" { // for forward_auth: every request may pass
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write(body)
	})}
	// Serve returns when the server is closed, with an error that says only that.
	go b.http.Serve(l)
	return nil
}

// close stops the backend and removes the temporary directory. Each section has
// stopped its own servers by then.
func (b *bench) close() {
	if b.http != nil {
		b.http.Close()
	}
	os.RemoveAll(b.dir)
}

// directory creates a new directory for one server. All are removed at the end of the
// command, so that no section removes files that its server is about to close.
func (b *bench) directory() (string, error) {
	b.count++
	dir := filepath.Join(b.dir, fmt.Sprint(b.count))
	return dir, os.Mkdir(dir, 0o700)
}

// A side is one of the loads that are compared. Its duration is not set, because it is
// the same for all sides. Its number of connections is set only if it differs from that
// of the others.
type side struct {
	name string // for errors
	load loadtest.Load
}

// results are the results of one side, one for each round.
type results []loadtest.Result

// compare runs the sides in turn, A B C A B C …, so that other work of the machine
// affects all of them alike. Before the first round each side runs once without being
// measured.
func (b *bench) compare(ctx context.Context, conns int, sides ...side) ([]results, error) {
	all := make([]results, len(sides))
	for round := -1; round < b.rounds; round++ { // the first is not measured
		for i, s := range sides {
			load := s.load
			// A side may have its own number of connections.
			if load.Conns == 0 {
				load.Conns = conns
			}
			if load.Duration = b.duration; round < 0 {
				load.Duration = min(b.duration, 300*time.Millisecond)
			}
			result, err := loadtest.Run(ctx, load)
			if err != nil {
				return nil, fmt.Errorf("%s, %d connections: %w", s.name, conns, err)
			}
			if round >= 0 {
				all[i] = append(all[i], result)
			}
		}
	}
	return all, nil
}

// each returns one figure of each round, in the order of the rounds, because ratios
// are taken between figures of the same round.
func (r results) each(of func(loadtest.Result) float64) (figures []float64) {
	for _, result := range r {
		figures = append(figures, of(result))
	}
	return figures
}

// rates returns the requests per second of each round.
func (r results) rates() []float64 { return r.each(loadtest.Result.PerSecond) }

// p99s returns the 99th percentile of the response times of each round, in milliseconds.
func (r results) p99s() []float64 {
	return r.each(func(result loadtest.Result) float64 { return milliseconds(result.P99) })
}

// milliseconds returns a duration in milliseconds, with the fraction.
func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
