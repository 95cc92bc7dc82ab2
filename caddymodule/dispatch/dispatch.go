// Package dispatch passes events to Caddy's events app without making a request wait for
// their handlers. It decides which events are dropped if handlers are too slow; which
// events there are, and what is in them, is decided by caddymodule, which calls it.
package dispatch

import (
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/deviceauth/caddy-deviceauth/internal/sampling"
)

// A Dispatcher passes events to Caddy's events app, one after the other, in its own
// goroutine: a device must not wait for an event handler that sends mail. If handlers
// are too slow, events are dropped, and their number is logged.
type Dispatcher struct {
	emitter Emitter
	log     *zap.Logger
	mu      sync.RWMutex // write-locked by End: afterwards nothing is sent to the closed queue
	ended   bool
	queue   chan event
	done    chan struct{}
	lost    *sampling.Sampler[string] // of events, by name
}

// An Emitter is Caddy's events app for one module.
type Emitter struct {
	Subscribed func(name string) bool                 // reports whether a handler subscribes to the event
	Emit       func(name string, data map[string]any) // waits for the handlers
}

// An event is what is passed to the events app: a stable name and data.
type event struct {
	name string
	data map[string]any
}

const (
	maxQueued  = 1000            // events in the queue
	endTimeout = 5 * time.Second // for the handlers of queued events, when the configuration ends
)

// New starts the goroutine that emits events until End is called.
func New(emitter Emitter, log *zap.Logger) *Dispatcher {
	d := &Dispatcher{emitter: emitter, log: log, queue: make(chan event, maxQueued), done: make(chan struct{})}
	d.lost = sampling.New(func(name string, n int) {
		log.Error("more events were lost: their handlers are too slow", zap.String("event", name), zap.Int("more", n))
	})
	go func() {
		defer close(d.done)
		for next := range d.queue {
			d.emitter.Emit(next.name, next.data)
		}
	}()
	return d
}

// Subscribed reports whether a handler subscribes to an event. Dispatch ignores the event
// if none does; with Subscribed a caller need not make its data.
func (d *Dispatcher) Subscribed(name string) bool { return d.emitter.Subscribed(name) }

// Dispatch queues an event. After End, an event of a request that outlives the
// configuration is emitted by the request's own goroutine.
func (d *Dispatcher) Dispatch(name string, data map[string]any) {
	if !d.Subscribed(name) {
		return
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	// The queue is closed and no longer read.
	if d.ended {
		d.emitter.Emit(name, data)
		return
	}
	select {
	case d.queue <- event{name: name, data: data}:
	default:
		if d.lost.Pass(name) {
			d.log.Error("an event was lost: its handlers are too slow",
				zap.String("event", name), zap.Any("grant", data["grant"]))
		}
	}
}

// End waits for queued events, at most for endTimeout.
func (d *Dispatcher) End() {
	d.mu.Lock()
	d.ended = true
	// The lock is released before the wait, so that requests in progress can emit
	// their events.
	d.mu.Unlock()
	close(d.queue)
	d.lost.Close()
	select {
	case <-d.done:
	case <-time.After(endTimeout):
		d.log.Error("events may be lost: their handlers are too slow", zap.Int("waiting", len(d.queue)))
	}
}
