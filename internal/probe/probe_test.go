package probe

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var errSilent = errors.New("no answer")

// Many probes at once cost one check of the store, and a probe a moment later
// costs none.
func TestManyProbesCostOneLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var probes atomic.Int32
		away := errors.New("away")
		h := &Probe{Silent: errSilent, Run: func(context.Context) error {
			probes.Add(1)
			time.Sleep(Wait / 2)
			return away
		}}
		var asking sync.WaitGroup
		for range 1000 {
			asking.Go(func() {
				if err := h.Check(t.Context()); !errors.Is(err, away) {
					t.Error(err)
				}
			})
		}
		asking.Wait()
		if err := h.Check(t.Context()); !errors.Is(err, away) || probes.Load() != 1 {
			t.Errorf("%v after %d probes", err, probes.Load())
		}
		time.Sleep(Reuse)
		if h.Check(t.Context()); probes.Load() != 2 {
			t.Errorf("%d probes after Reuse", probes.Load())
		}
	})
}

// A store that hangs, whatever its context says, is waited for once, and asked
// again when it has answered.
func TestStoreThatHangsIsWaitedForOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var probes atomic.Int32
		hangs := make(chan struct{})
		h := &Probe{Silent: errSilent, Run: func(context.Context) error { probes.Add(1); <-hangs; return nil }}
		for i, want := range []time.Duration{Wait, 0, 0} {
			began := time.Now()
			if err := h.Check(t.Context()); !errors.Is(err, errSilent) || time.Since(began) != want {
				t.Errorf("probe %d: %v after %v", i, err, time.Since(began))
			}
		}
		close(hangs)
		synctest.Wait()
		if err := h.Check(t.Context()); err != nil || probes.Load() != 1 {
			t.Errorf("%v after %d probes", err, probes.Load())
		}
	})
}
