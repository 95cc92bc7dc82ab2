package demoidp

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

func TestMapForgetsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := expiringMap[int]{}
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

func TestFullMapForgetsTheOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := expiringMap[int]{}
		for i := range maxItems + 5 {
			s.put(strconv.Itoa(i), i, time.Hour)
			time.Sleep(time.Millisecond)
		}
		if len(s) != maxItems {
			t.Errorf("%d items, want %d", len(s), maxItems)
		}
		for key, want := range map[string]bool{"4": false, "5": true} {
			if _, ok := s.get(key); ok != want {
				t.Errorf("%s is there: %v, want %v", key, ok, want)
			}
		}
	})
}
