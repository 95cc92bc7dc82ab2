package caddymodule

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Many probes at once cost one check of the store, and a probe a moment later
// costs none.
func TestManyProbesCostOneLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var probes atomic.Int32
		away := errors.New("away")
		h := &health{probe: func(context.Context) error {
			probes.Add(1)
			time.Sleep(healthWait / 2)
			return away
		}}
		var asking sync.WaitGroup
		for range 1000 {
			asking.Go(func() {
				if err := h.check(t.Context()); !errors.Is(err, away) {
					t.Error(err)
				}
			})
		}
		asking.Wait()
		if err := h.check(t.Context()); !errors.Is(err, away) || probes.Load() != 1 {
			t.Errorf("%v after %d probes", err, probes.Load())
		}
		time.Sleep(healthReuse)
		if h.check(t.Context()); probes.Load() != 2 {
			t.Errorf("%d probes after healthReuse", probes.Load())
		}
	})
}

// A store that hangs, whatever its context says, is waited for once, and asked
// again when it has answered.
func TestStoreThatHangsIsWaitedForOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var probes atomic.Int32
		hangs := make(chan struct{})
		h := &health{probe: func(context.Context) error { probes.Add(1); <-hangs; return nil }}
		for i, want := range []time.Duration{healthWait, 0, 0} {
			began := time.Now()
			if err := h.check(t.Context()); !errors.Is(err, errStoreSilent) || time.Since(began) != want {
				t.Errorf("probe %d: %v after %v", i, err, time.Since(began))
			}
		}
		close(hangs)
		synctest.Wait()
		if err := h.check(t.Context()); err != nil || probes.Load() != 1 {
			t.Errorf("%v after %d probes", err, probes.Load())
		}
	})
}
