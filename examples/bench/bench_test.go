package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/loadtest"
)

func TestCommandLine(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		args []string
		want string // of the error; empty: there is none
	}{
		{"nothing", nil, ""},
		{"all flags", []string{"-rounds", "2", "-duration", "50ms", "-c", "1,8", "-only", "guard,size", "-big"}, ""},
		{"an unknown section", []string{"-only", "guard,nothing"}, `no section "nothing"`},
		{"no connections", []string{"-c", "16,0"}, "no number from 1 to 1024"},
		{"no round", []string{"-rounds", "0"}, "want one round or more"},
		{"no time", []string{"-duration", "0"}, "want one round or more"},
		{"an argument", []string{"guard"}, "no further arguments"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := parse(test.args, io.Discard)
			switch {
			case test.want == "" && err != nil, test.want != "" && err == nil:
				t.Errorf("got %v, want %q", err, test.want)
			case err != nil && !strings.Contains(err.Error(), test.want):
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
	if o, err := parse([]string{"-big", "-c", "1,8"}, io.Discard); err != nil || o.sizes.active != 100_000 ||
		len(o.conns) != 2 || o.conns[1] != 8 {
		t.Errorf("got %+v, %v", o, err)
	}
}

func TestVerdictIsOnTheFigureAsItIsShown(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		row  row
		want string
	}{
		{"no target", row{value: loadtest.Spread{Median: 9}}, ""},
		{"at least, met", row{value: loadtest.Spread{Median: 0.97}, target: 0.97}, "met"},
		{"at least, missed", row{value: loadtest.Spread{Median: 0.969}, target: 0.97}, "missed"},
		{"at most, met", row{value: loadtest.Spread{Median: 50}, target: 50, atMost: true}, "met"},
		{"at most, missed", row{value: loadtest.Spread{Median: 50.3}, target: 50, atMost: true}, "missed"},
		{"at most, but for what is not shown", row{value: loadtest.Spread{Median: 1.004}, target: 1, atMost: true},
			"met"},
		{"nothing at all", row{target: 1, atMost: true}, "met"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := test.row.verdict(); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestFiguresHaveThreeDigits(t *testing.T) {
	t.Parallel()
	for v, want := range map[float64]string{0: "0", 0.00512: "0.0051", 0.9712: "0.971", 1: "1.00", 12.34: "12.3",
		3657.4: "3657", -15.74: "-15.7"} {
		if got := short(v); got != want {
			t.Errorf("%v: got %s, want %s", v, got, want)
		}
	}
	for n, want := range map[int]string{5: "5", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
}

// ran are the results of rounds with so many requests a second.
func ran(perSecond ...int) (all results) {
	for _, n := range perSecond {
		all = append(all, loadtest.Result{
			Requests: n, Elapsed: time.Second, P99: time.Millisecond, CPU: time.Second / 10,
		})
	}
	return all
}

func TestRatioIsTakenRoundByRound(t *testing.T) {
	t.Parallel()
	r := ratio("guarded", "bare", 16, ran(90, 45, 80), ran(100, 50, 100), 0.85)
	if r.value != (loadtest.Spread{Median: 0.9, Min: 0.8, Max: 0.9}) || r.rate.Median != 80 || r.base.Median != 100 ||
		!r.met() {
		t.Errorf("got %+v", r)
	}
	cells := strings.Join(r.columns(), "|")
	if want := "guarded|bare|16|80 : 100|0.900 × (0.800–0.900)|1.00|1.25|≥ 0.850|met"; cells != want {
		t.Errorf("got  %s\nwant %s", cells, want)
	}
}

// told is a report of two rows, of which one misses its target.
func sampleReport() *report {
	return &report{
		options: options{rounds: 3, duration: time.Second}, machine: "2 cores", began: time.Unix(0, 0),
		rows: []row{
			ratio("guarded <b>", "bare", 16, ran(90), ran(100), 0.97),
			{what: "memory", unit: "MiB", value: loadtest.Spread{Median: 12, Min: 12, Max: 12}, target: 40,
				atMost: true, note: "of the process"},
		},
	}
}

func TestTableHasItsColumnsBelowEachOther(t *testing.T) {
	t.Parallel()
	lines := strings.Split(strings.TrimSpace(sampleReport().table()), "\n")
	if len(lines) != 4 || lines[3] != "memory: of the process" {
		t.Fatalf("got %q", lines)
	}
	// ≤ and × are one column each, whatever their bytes are.
	at := func(line, text string) int { before, _, _ := strings.Cut(line, text); return len([]rune(before)) }
	if at(lines[0], "target") != at(lines[1], "≥") || at(lines[1], "≥") != at(lines[2], "≤") {
		t.Errorf("got\n%s", strings.Join(lines, "\n"))
	}
}

func TestMarkdownMarksWhatIsMissed(t *testing.T) {
	t.Parallel()
	text := sampleReport().markdown()
	for _, want := range []string{"2 cores; medians of 3 rounds of 1s.\n", "| ≥ 0.970 | **missed** |",
		"| ≤ 40.0 | met |", "- memory: of the process\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing:\n%s", want, text)
		}
	}
}

func TestTableReplacesWhatIsBetweenTheMarks(t *testing.T) {
	t.Parallel()
	page := "# Title\n\n" + markBegin + "\nold\n" + markEnd + "\n\nend\n"
	if got, want := between(page, "new\n"), "# Title\n\n"+markBegin+"\n\nnew\n\n"+markEnd+"\n\nend\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if again := between(between(page, "new\n"), "new\n"); again != between(page, "new\n") {
		t.Errorf("the page changes when nothing does: %q", again)
	}
	if got := between("old", "new"); got != "new" {
		t.Errorf("a file without marks: %q", got)
	}
}

func TestPictureIsXMLWithABarForEachTarget(t *testing.T) {
	t.Parallel()
	r := sampleReport()
	r.rows = append(r.rows, row{what: "without a target"})
	picture := r.picture()
	d := xml.NewDecoder(strings.NewReader(picture))
	bars := 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, picture)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "rect" {
			bars++
		}
	}
	if bars != 3 || strings.Contains(picture, "without a target") { // with the background
		t.Errorf("%d rectangles:\n%s", bars, picture)
	}
	if got := (row{target: 1}).scaled(9); got != barWidth {
		t.Errorf("a figure far beyond its target is %v long, want %d", got, barWidth)
	}
}

func TestCountersOfRedisAreRead(t *testing.T) {
	t.Parallel()
	const info = "# Stats\r\ntotal_commands_processed:12\r\ntotal_reads_processed:7\r\n"
	if n, err := counter(info, "total_reads_processed"); err != nil || n != 7 {
		t.Errorf("got %v, %v", n, err)
	}
	if _, err := counter(info, "reads_processed"); err == nil {
		t.Error("the end of a name passes for a name")
	}
}

// Everything runs, with numbers that are too small to say anything.
func TestCommandMeasuresFromEndToEnd(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the gateway, and waits for people")
	}
	t.Parallel()
	dir := t.TempDir()
	md, svg := filepath.Join(dir, "bench.md"), filepath.Join(dir, "bench.svg")
	var out bytes.Buffer
	err := run(t.Context(), []string{"-quick", "-rounds", "1", "-duration", "50ms", "-c", "2", "-dir", dir, "-md", md,
		"-svg", svg}, &out)
	if err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	table, err := os.ReadFile(md)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"guarded, one token", "every token new", "forward_auth", "device authorization",
		"pending poll", "redemption", "refresh", "click to token", "memory of a code", "start with", "idle gateway",
		"a second begin", "size of the binary"} {
		if !strings.Contains(string(table), want) {
			t.Errorf("there is no row %q:\n%s", want, table)
		}
	}
	if picture, err := os.ReadFile(svg); err != nil || !bytes.HasPrefix(picture, []byte("<svg ")) {
		t.Errorf("the picture: %v, %.100s", err, picture)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "deviceauth-bench*")); err != nil || len(left) > 0 {
		t.Errorf("it leaves %v, %v", left, err)
	}
}
