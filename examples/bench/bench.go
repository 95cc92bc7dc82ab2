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
	out     io.Writer    // for the user
	count   int          // of the directories that were made
	http    *http.Server // the backend; nil: it was not started
}

// modulePath is by what name the go command finds the command, in whatever folder of the
// module the user stands. It is where this module is built from.
const modulePath = "github.com/deviceauth/caddy-deviceauth"

// open builds the gateway and starts the backend.
func open(ctx context.Context, o options, out io.Writer) (b *bench, err error) {
	b = &bench{options: o, out: out}
	if b.dir, err = os.MkdirTemp(o.dir, "deviceauth-bench"); err != nil {
		return nil, err
	}
	// The gateway is as old as the working tree, whatever was built before.
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

// build builds ./caddy, with further flags of the go command. Packages that were built
// before are the go command's cache's, so mostly it only links.
func build(ctx context.Context, binary string, flags ...string) error {
	args := append(append([]string{"build", "-o", binary}, flags...), modulePath+"/caddy")
	if out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("building ./caddy: %w\n%s", err, out)
	}
	return nil
}

// serve starts the backend. It is in this process, so that what it takes is not
// counted as the server's.
func (b *bench) serve() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	// 1 KB, as a small answer of an API has.
	body, err := json.Marshal(map[string]string{"product": "Chai", "text": strings.Repeat("x", 990)})
	if err != nil {
		return err
	}
	b.backend = l.Addr().String()
	b.http = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/yes" { // of forward_auth: it lets everything in
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write(body)
	})}
	// Serve ends at close, with an error that says only that.
	go b.http.Serve(l)
	return nil
}

// close removes everything. The servers of a section were stopped by it.
func (b *bench) close() {
	if b.http != nil {
		b.http.Close()
	}
	os.RemoveAll(b.dir)
}

// directory makes a new one, for one server. All are removed at the end of the command, so
// that no section removes files that its server is about to close.
func (b *bench) directory() (string, error) {
	b.count++
	dir := filepath.Join(b.dir, fmt.Sprint(b.count))
	return dir, os.Mkdir(dir, 0o700)
}

// A side is one of those that are compared. Its load has neither a duration, which is the
// same for all, nor a number of connections, unless it is to differ from theirs.
type side struct {
	name string // for errors
	load loadtest.Load
}

// results are those of one side, one of each round.
type results []loadtest.Result

// compare runs the sides in turn, A B C A B C …, so that what the machine does beside
// this reaches all of them alike. Before the first round each runs once unmeasured.
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

// each returns one figure of each round, in the order of the rounds: ratios are taken
// within one.
func (r results) each(of func(loadtest.Result) float64) (figures []float64) {
	for _, result := range r {
		figures = append(figures, of(result))
	}
	return figures
}

// rates are requests a second.
func (r results) rates() []float64 { return r.each(loadtest.Result.PerSecond) }

// p99s are in milliseconds.
func (r results) p99s() []float64 {
	return r.each(func(result loadtest.Result) float64 { return milliseconds(result.P99) })
}

// milliseconds of a duration, with what is below one.
func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
