package sampling

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// emitted is what a sampler was to write.
type emitted struct {
	mu           sync.Mutex // numbers are told by a timer
	passed, more map[int]int
	lines        int // of numbers
}

func newEmitted() (*emitted, *Sampler[int]) {
	t := &emitted{passed: map[int]int{}, more: map[int]int{}}
	return t, New(func(kind, n int) {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.more[kind] += n
		t.lines++
	})
}

// is requires the numbers of lines that passed, of lines that were counted, and of
// reports.
func (t *emitted) is(test *testing.T, passed, more, lines int) {
	test.Helper()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.passed[1] != passed || t.more[1] != more || t.lines != lines {
		test.Errorf("%d passed, %d are counted in %d lines; want %d, %d, %d", t.passed[1], t.more[1], t.lines,
			passed, more, lines)
	}
}

func (t *emitted) ask(s *Sampler[int], kind, n int) {
	for range n {
		if s.Pass(kind) {
			t.passed[kind]++
		}
	}
}

func TestFewPassAndTheRestIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got, s := newEmitted()
		defer s.Close()
		got.ask(s, 1, 60_000)
		got.ask(s, 2, 3)
		if got.is(t, 10, 0, 0); got.passed[2] != 3 {
			t.Errorf("of another kind %d", got.passed[2])
		}
		time.Sleep(time.Minute + time.Second)
		got.is(t, 10, 59_990, 1)
		got.ask(s, 1, 11)
		got.is(t, 20, 59_990, 1)
	})
}

func TestFloodIsAFewLinesAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got, s := newEmitted()
		for range 600 {
			got.ask(s, 1, 100)
			time.Sleep(time.Second)
		}
		s.Close()
		got.is(t, 609, 60_000-609, 10)
	})
}

func TestNothingIsLostAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got, s := newEmitted()
		got.ask(s, 1, 15)
		s.Close()
		s.Close()
		got.is(t, 10, 5, 1)
		got.ask(s, 1, 15)
		got.is(t, 25, 5, 1)
		time.Sleep(time.Hour)
		got.is(t, 25, 5, 1)
	})
}

func TestKindsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got, s := newEmitted()
		for kind := range 3 * maxKinds {
			got.ask(s, kind+1, 1)
		}
		if len(s.kinds) > maxKinds+1 {
			t.Errorf("%d kinds", len(s.kinds))
		}
		time.Sleep(time.Hour)
		for kind := range 3 * maxKinds {
			got.ask(s, -kind-1, 1)
			time.Sleep(time.Minute)
		}
		if len(s.kinds) > maxKinds/2 {
			t.Errorf("%d kinds after a while", len(s.kinds))
		}
	})
}

// An outage of ten minutes, with ten failures a second, is a line as it begins and
// one for each minute.
func TestOutageIsALineAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines, emitted atomic.Int64 // numbers are told by a timer
		write := func(n int) { lines.Add(1); emitted.Add(int64(n)) }
		s := Outages(func(_ string, n int) { write(n) })
		for range 6000 {
			if s.Pass("away") {
				write(1)
			}
			time.Sleep(100 * time.Millisecond)
		}
		s.Close()
		if n := lines.Load(); n < 10 || n > 12 || emitted.Load() != 6000 {
			t.Errorf("%d lines tell of %d failures", n, emitted.Load())
		}
	})
}
