package gateway_test

import (
	"flag"
	"fmt"
	"os"
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

// Seconds are the machine's, allocations are the program's. What is far below the table
// fails too, so that the table is worth something: run with -update.
func TestHotPathsAllocateNoMoreThanTheTableSays(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates by itself")
	}
	const runs = 200
	var table strings.Builder
	measured := map[string]float64{}
	for _, path := range hotPaths {
		run, i := path.prepare(newHot(t), runs+1), 0 // one more to warm up
		n := testing.AllocsPerRun(runs, func() { run(i); i++ })
		measured[path.name] = n
		fmt.Fprintf(&table, "%-20s %4.0f\n", path.name, n)
	}
	if *update {
		if err := os.WriteFile(allocsFile, []byte(table.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(allocsFile)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(golden)) {
		var want float64
		name := strings.TrimSpace(line[:20])
		if _, err := fmt.Sscan(line[20:], &want); err != nil {
			t.Fatal(err)
		}
		slack := 2 + want/10 // of goroutines beside it, and maps that grow
		if n, ok := measured[name]; !ok || n > want+slack || n < want-slack {
			t.Errorf("%s: %v allocations, want %v as in %s", name, n, want, allocsFile)
		}
		delete(measured, name)
	}
	if len(measured) > 0 {
		t.Errorf("%s lacks %v", allocsFile, measured)
	}
}
