package generations_test

import (
	"strconv"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/internal/generations"
)

func TestWhatIsUsedStaysAndTheRestIsBounded(t *testing.T) {
	const size, used = 10, -1
	m := generations.New[int, int](size)
	m.Put(used, 7)
	for i := range 100 * size {
		m.Put(i, i)
		value, found, ages := m.Get(used)
		if !found || value != 7 {
			t.Fatalf("forgotten after %d others, though it was used", i)
		}
		if ages {
			m.Put(used, value)
		}
	}
	remembered := 0
	for i := range 100 * size {
		if value, found, _ := m.Get(i); found {
			remembered++
			if value != i {
				t.Errorf("%d became %d", i, value)
			}
		}
	}
	if remembered < size-1 || remembered > 2*size {
		t.Errorf("remembers %d, with room for twice %d", remembered, size)
	}
}

func TestWhatWasReplacedOrDeletedDoesNotComeBack(t *testing.T) {
	m := generations.New[string, int](1)
	m.Put("a", 1)
	m.Put("a", 2)
	m.Put("b", 1) // and "a" is old
	m.Put("a", 3) // and "b" is
	if value, _, ages := m.Get("a"); value != 3 || ages {
		t.Errorf("got %d, old: %v", value, ages)
	}
	m.Delete("a")
	m.Delete("b")
	for _, key := range []string{"a", "b"} {
		if value, found, _ := m.Get(key); found {
			t.Errorf("%s is %d", key, value)
		}
	}
}

func TestAllGoOnWithTheEntryThatWasFirst(t *testing.T) {
	t.Parallel()
	const size, others = 10, 100
	s := generations.NewShared[string, *int](size)
	first := new(int)
	if got := s.Add("a", first); got != first {
		t.Error("the first is not taken")
	}
	if got := s.Add("a", new(int)); got != first {
		t.Error("a second one takes its place")
	}
	for i := range others {
		s.Add(strconv.Itoa(i), new(int))
		if got, found := s.Get("a"); !found || got != first {
			t.Fatalf("forgotten after %d others, though it was used", i)
		}
	}
	if _, found := s.Get("0"); found {
		t.Error("one that was not used is never forgotten")
	}
}
