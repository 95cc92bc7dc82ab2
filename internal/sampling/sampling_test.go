package sampling

import (
	"testing"
	"testing/synctest"
	"time"
)

// told is what a sampler was to write.
type told struct {
	passed, more map[int]int
	lines        int // of numbers
}

func newTold() (*told, *Sampler[int]) {
	t := &told{map[int]int{}, map[int]int{}, 0}
	return t, New(func(kind, n int) { t.more[kind] += n; t.lines++ })
}

func (t *told) ask(s *Sampler[int], kind, n int) {
	for range n {
		if s.Pass(kind) {
			t.passed[kind]++
		}
	}
}

func TestFewPassAndTheRestIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got, s := newTold()
		got.ask(s, 1, 60_000)
		got.ask(s, 2, 3)
		if got.passed[1] != 10 || got.passed[2] != 3 || got.lines != 0 {
			t.Fatalf("%+v", got)
		}
		time.Sleep(time.Minute + time.Second)
		synctest.Wait()
		if got.more[1] != 59_990 || got.lines != 1 {
			t.Errorf("%+v", got)
		}
		got.ask(s, 1, 11)
		if got.passed[1] != 20 {
			t.Errorf("after a minute: %+v", got)
		}
	})
}

func TestFloodIsAFewLinesAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got, s := newTold()
		for range 600 {
			got.ask(s, 1, 100)
			time.Sleep(time.Second)
		}
		s.Close()
		if lines := got.passed[1] + got.lines; lines > 10+600+11 || got.passed[1]+got.more[1] != 60_000 {
			t.Errorf("%d lines: %+v", lines, got)
		}
	})
}

func TestNothingIsLostAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got, s := newTold()
		got.ask(s, 1, 15)
		s.Close()
		s.Close()
		if got.more[1] != 5 || got.lines != 1 {
			t.Errorf("%+v", got)
		}
		if got.ask(s, 1, 15); got.passed[1] != 25 {
			t.Errorf("after the end: %+v", got)
		}
		time.Sleep(time.Hour)
		if got.lines != 1 {
			t.Errorf("told again: %+v", got)
		}
	})
}

func TestKindsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got, s := newTold()
		for kind := range 3 * most {
			got.ask(s, kind+1, 1)
		}
		if len(s.kinds) > most+1 {
			t.Errorf("%d kinds", len(s.kinds))
		}
		time.Sleep(time.Hour)
		for kind := range 3 * most {
			got.ask(s, -kind-1, 1)
			time.Sleep(time.Minute)
		}
		if len(s.kinds) > most/2 {
			t.Errorf("%d kinds after a while", len(s.kinds))
		}
	})
}
