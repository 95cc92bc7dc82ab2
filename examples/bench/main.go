// Command bench measures a gateway on this machine: what guarded requests, device
// authorizations and polls cost beside a plain Caddy, how fast tokens are on disk, how
// soon a device learns of a person's click, and how much memory and how many Redis
// commands all that takes. It prints a table and writes it as Markdown and as a
// picture.
//
//	go run ./examples/bench             # all of it, in some five minutes
//	go run ./examples/bench -only guard,click
//
// It decides how each figure is measured and which target it must reach. The gateway
// is the binary of ./caddy, built from the working tree; without device_login the same
// binary is the plain Caddy for comparison. Everything runs on loopback, on ports and
// in directories of its own, and is stopped at the end. The client runs on the same
// machine and uses some of the CPU time, on both sides of a comparison alike.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// main exits with 1 if something failed. Missed targets are not a failure: they are meant
// for a machine without other load, and for the reader of the table.
func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// An interrupt ends the context, and with it all servers; run returns when they have
	// ended.
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are the values of the flags.
type options struct {
	rounds   int           // one or more
	duration time.Duration // of each side of a comparison in each round
	conns    []int         // each number is a row of its own
	only     []string      // names of sections; none: all
	svg, md  string        // files to write; empty: none
	dir      string        // parent of the temporary directory
	sizes    sizes
}

// sizes are the numbers of devices, codes and grants that are measured.
type sizes struct {
	tokens  int // tokens that fit into a guard's cache
	cold    int // tokens that do not fit into it
	codes   int // pending codes that are polled
	redeem  int // codes to redeem in a round
	flows   int // logins in which a click is measured
	pending int // codes whose memory is measured
	active  int // grants in the store of a gateway that starts
}

// A guard caches between 20,000 and 40,000 tokens (docs/operations.md), so with
// 45,000 in turn each is new to it. Polls of 60,000 codes, each every two seconds,
// are more than two cores can answer.
var usual = sizes{
	tokens: 10_000, cold: 45_000, codes: 60_000, redeem: 4_000, flows: 200, pending: 100_000, active: 10_000,
}

// quick is for checking that everything runs. Its figures are meaningless.
var quick = sizes{tokens: 50, cold: 100, codes: 2_000, redeem: 64, flows: 2, pending: 1_000, active: 100}

// parse reads the command line.
func parse(args []string, out io.Writer) (o options, err error) {
	// Errors are returned, so that a test can see them.
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.SetOutput(out)
	fs.IntVar(&o.rounds, "rounds", 5, "rounds, of which the median is reported")
	fs.DurationVar(&o.duration, "duration", time.Second, "of each side of a comparison in each round")
	fs.StringVar(&o.svg, "svg", "bench.svg", "file for the picture; empty: none")
	fs.StringVar(&o.md, "md", "bench.md", "file for the table, in Markdown; in a file with the lines\n"+
		markBegin+" and "+markEnd+" it replaces what is between them; empty: none")
	fs.StringVar(&o.dir, "dir", "", "parent of the temporary directory, on the disk that is to be measured")
	c := fs.String("c", "16,64", "numbers of connections, comma-separated")
	only := fs.String("only", "", "comma-separated sections: "+strings.Join(sectionNames(), ", "))
	big := fs.Bool("big", false, "start with 100,000 active grants instead of 10,000")
	small := fs.Bool("quick", false, "small numbers, to see that everything runs")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if o.rounds < 1 || o.duration <= 0 || fs.NArg() > 0 {
		return o, errors.New("want one round or more, a duration above zero, and no further arguments")
	}
	// -quick takes precedence over -big.
	if o.sizes = usual; *big {
		o.sizes.active = 100_000
	}
	if *small {
		o.sizes = quick
	}
	if o.conns, err = numbers(*c); err != nil {
		return o, err
	}
	if *only != "" {
		o.only = strings.Split(*only, ",")
	}
	// A misspelt name must not be noticed only after minutes.
	for _, name := range o.only {
		if !slices.Contains(sectionNames(), name) {
			return o, fmt.Errorf("-only: there is no section %q", name)
		}
	}
	return o, nil
}

// numbers reads a list such as 16,64.
func numbers(list string) (all []int, err error) {
	for text := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 1024 {
			return nil, fmt.Errorf("-c: %q is no number from 1 to 1024", text)
		}
		all = append(all, n)
	}
	return all, nil
}

// run measures, prints and writes. Figures of a run in which anything failed are
// printed and not written.
func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parse(args, out)
	if err != nil {
		return err
	}
	// The load average is read before the build, which would raise it.
	r := report{machine: thisMachine(), began: time.Now(), options: o}
	fmt.Fprintf(out, "%s\n", r.heading())
	b, err := open(ctx, o, out)
	if err != nil {
		return err
	}
	defer b.close()
	for _, s := range sections {
		if len(o.only) > 0 && !slices.Contains(o.only, s.name) {
			continue
		}
		began := time.Now()
		rows, err := s.measure(ctx, b)
		// What was measured until then is still worth reading.
		if err != nil {
			fmt.Fprintln(out, r.table())
			return fmt.Errorf("%s: %w", s.name, err)
		}
		r.rows = append(r.rows, rows...)
		fmt.Fprintf(out, "%s: %v\n", s.name, time.Since(began).Round(time.Second/10))
	}
	fmt.Fprintf(out, "\n%s", r.table())
	return r.write()
}

// A section measures what belongs together, with servers of its own.
type section struct {
	name    string // for -only
	measure func(context.Context, *bench) ([]row, error)
}

// sections are in the order in which they run and are reported.
var sections = []section{
	{name: "guard", measure: measureGuard},         // what a request with a token costs
	{name: "authorize", measure: measureAuthorize}, // asking for a code
	{name: "poll", measure: measurePoll},           // asking whether it was allowed
	{name: "disk", measure: measureDisk},           // tokens that are on disk
	{name: "click", measure: measureClick},         // what people wait for
	{name: "redis", measure: measureRedis},         // round trips
	{name: "pending", measure: measurePending},     // memory of codes
	{name: "start", measure: measureStart},         // time and memory of a start
	{name: "crowd", measure: measureCrowd},         // requests during logins
	{name: "size", measure: measureSize},           // of the binary
}

// sectionNames returns the names that -only accepts.
func sectionNames() (names []string) {
	for _, s := range sections {
		names = append(names, s.name)
	}
	return names
}
