package demoidp

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

func TestShelfForgetsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := shelf[int]{}
		s.put("a", 1, time.Minute)
		if v, ok := s.get("a"); !ok || v != 1 {
			t.Errorf("got %d, %v", v, ok)
		}
		time.Sleep(time.Minute + 1)
		if _, ok := s.get("a"); ok {
			t.Error("what is over is there")
		}
		s.put("b", 2, time.Minute)
		if len(s) != 1 {
			t.Errorf("%d items, want the new one alone", len(s))
		}
	})
}

func TestFullShelfForgetsTheOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := shelf[int]{}
		for i := range shelfSize + 5 {
			s.put(strconv.Itoa(i), i, time.Hour)
			time.Sleep(time.Millisecond)
		}
		if len(s) != shelfSize {
			t.Errorf("%d items, want %d", len(s), shelfSize)
		}
		for key, want := range map[string]bool{"4": false, "5": true} {
			if _, ok := s.get(key); ok != want {
				t.Errorf("%s is there: %v, want %v", key, ok, want)
			}
		}
	})
}
