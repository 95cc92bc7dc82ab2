package caddymodule

import (
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// Caddy's servers wait without end for the requests under way, and those may wait for
// a store that does not answer. A signal is to end the process within five seconds
// all the same, before whoever sent it sends the next one, so that the order in which
// apps are stopped, which is Caddy's, must not matter.

const (
	// exitPatience is what requests have to end by themselves. It is longer than a
	// store takes that answers at all; the rest of the five seconds is for what an
	// operation that is broken off still needs.
	exitPatience = 1500 * time.Millisecond
	exitLook     = 100 * time.Millisecond
)

// An abandoner is a store on another machine, which may be silent for any time.
type abandoner interface{ Abandon() }

// abandonAtExit has a store break off what waits for it, a while after the process
// has begun to end. The function that it returns ends the watch; it
// is nil for a store that is in this process.
func abandonAtExit(backend deviceauth.Backend) (settled func()) {
	store, ok := backend.(abandoner)
	if !ok {
		return nil
	}
	done := make(chan struct{})
	go func() {
		if !endsBeforeExit(done) {
			store.Abandon()
		}
	}()
	return func() { close(done) }
}

// endsBeforeExit waits until something is done. It gives up, and returns false, where
// the process has been ending for exitPatience meanwhile. Caddy says only whether it
// ends, so that is asked again and again.
func endsBeforeExit(done <-chan struct{}) bool {
	tick := time.NewTicker(exitLook)
	defer tick.Stop()
	for left := exitPatience; left > 0; {
		select {
		case <-done:
			return true
		case <-tick.C:
		}
		if caddy.Exiting() {
			left -= exitLook
		}
	}
	return false
}
