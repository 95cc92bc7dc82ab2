package gateway_test

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

const allocsFile = "testdata/allocs.txt"

func BenchmarkHotPaths(b *testing.B) {
	for _, path := range hotPaths {
		b.Run(strings.ReplaceAll(path.name, " ", "_"), func(b *testing.B) {
			run := path.prepare(newHot(b), b.N)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				run(i)
			}
		})
	}
}

// Times depend on the machine, allocations on the program. A result far below the
// table fails as well, so that the table stays exact: run with -update.
func TestHotPathsAllocateNoMoreThanTheTableSays(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates by itself")
	}
	if *update {
		writeAllocs(t)
	}
	golden, err := os.ReadFile(allocsFile)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{}
	for line := range strings.Lines(string(golden)) {
		n, err := strconv.ParseFloat(strings.TrimSpace(line[nameWidth:]), 64)
		if err != nil {
			t.Fatal(err)
		}
		want[strings.TrimSpace(line[:nameWidth])] = n
	}
	for _, path := range hotPaths {
		n, known := want[path.name]
		if !known {
			t.Errorf("%s lacks %s", allocsFile, path.name)
			continue
		}
		slack := 2 + n/10 // of maps that grow
		var got float64
		// On a busy machine the goroutines that write behind may run within the measurement.
		for attempt := 0; attempt == 0 || attempt < 5 && got > n+slack; attempt++ {
			got = path.allocs(t)
		}
		if got > n+slack || got < n-slack {
			t.Errorf("%s: %v allocations, want %v as in %s", path.name, got, n, allocsFile)
		}
		delete(want, path.name)
	}
	if len(want) > 0 {
		t.Errorf("%s has %v, which nothing measures", allocsFile, want)
	}
}

// nameWidth is the width of the first column of the table.
const nameWidth = 20

// writeAllocs rewrites the table.
func writeAllocs(t *testing.T) {
	t.Helper()
	var table strings.Builder
	for _, path := range hotPaths {
		fmt.Fprintf(&table, "%-*s %4.0f\n", nameWidth, path.name, path.allocs(t))
	}
	if err := os.WriteFile(allocsFile, []byte(table.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// allocs returns how many allocations a run of the path makes.
func (p hotPath) allocs(t *testing.T) float64 {
	t.Helper()
	const runs = 200
	run, i := p.prepare(newHot(t), runs+1), 0 // one more to warm up
	return testing.AllocsPerRun(runs, func() { run(i); i++ })
}
