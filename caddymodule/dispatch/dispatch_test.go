package dispatch

import (
	"testing"
	"testing/synctest"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestLostEventsAreLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, lines := observer.New(zap.DebugLevel)
		slow := make(chan struct{})
		subscribed := func(string) bool { return true }
		d := New(Emitter{Subscribed: subscribed, Emit: func(string, map[string]any) { <-slow }}, zap.New(core))
		const lost = 500
		for range maxQueued + lost {
			d.Dispatch("device_authorized", nil)
			synctest.Wait()
		}
		close(slow)
		d.End()
		all := lines.All()
		last := all[len(all)-1].ContextMap()
		if len(all) != 11 || last["more"] != int64(lost-1-10) { // one event is with the handler
			t.Errorf("%d lines, the last is %v", len(all), last)
		}
	})
}
