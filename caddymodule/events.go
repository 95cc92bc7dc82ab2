package caddymodule

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/sampling"
	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// eventConnected is emitted in Caddy's events app, besides the events of the audit
// log, when a device of a client with notify has received its tokens. An operator can
// route it to mail or chat.
const eventConnected = "device_connected"

// A dispatcher passes events to Caddy's events app, one after the other, in its own
// goroutine: a device must not wait for an event handler that sends mail. If handlers
// are too slow, events are dropped, and their number is logged.
type dispatcher struct {
	emitter
	log   *zap.Logger
	mu    sync.RWMutex // write-locked by end: afterwards nothing is sent to the closed queue
	ended bool
	queue chan event
	done  chan struct{}
	lost  *sampling.Sampler[string] // of events, by name
}

// An emitter is Caddy's events app for one module.
type emitter struct {
	subscribed func(name string) bool // reports whether a handler subscribes to the event
	emit       func(name string, data map[string]any)
}

// An event is what is passed to the events app: a stable name and data.
type event struct {
	name string
	data map[string]any
}

const (
	dispatcherQueue   = 1000            // events in the queue
	dispatcherTimeout = 5 * time.Second // for the handlers of queued events, when the configuration ends
)

// newDispatcher starts the goroutine that emits events until end is called.
func newDispatcher(c emitter, log *zap.Logger) *dispatcher {
	h := &dispatcher{emitter: c, log: log, queue: make(chan event, dispatcherQueue), done: make(chan struct{})}
	h.lost = sampling.New(func(name string, n int) {
		log.Error("more events were lost: their handlers are too slow", zap.String("event", name), zap.Int("more", n))
	})
	go func() {
		defer close(h.done)
		for t := range h.queue {
			h.emit(t.name, t.data)
		}
	}()
	return h
}

// dispatch queues an event. After end, an event of a request that outlives the
// configuration is emitted by the request's own goroutine.
func (h *dispatcher) dispatch(name string, data map[string]any) {
	if !h.subscribed(name) {
		return
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	// The queue is closed and no longer read.
	if h.ended {
		h.emit(name, data)
		return
	}
	select {
	case h.queue <- event{name: name, data: data}:
	default:
		if h.lost.Pass(name) {
			h.log.Error("an event was lost: its handlers are too slow",
				zap.String("event", name), zap.Any("grant", data["grant"]))
		}
	}
}

// end waits for queued events, at most for dispatcherTimeout.
func (h *dispatcher) end() {
	h.mu.Lock()
	h.ended = true
	// The lock is released before the wait, so that requests in progress can emit
	// their events.
	h.mu.Unlock()
	close(h.queue)
	h.lost.Close()
	select {
	case <-h.done:
	case <-time.After(dispatcherTimeout):
		h.log.Error("events may be lost: their handlers are too slow", zap.Int("waiting", len(h.queue)))
	}
}

// connected emits eventConnected for a redeemed grant, if its client has notify.
func (a *App) connected(g *deviceauth.Grant) {
	// The client may have been removed from the configuration since the grant was
	// created.
	i := slices.IndexFunc(a.Clients, func(c Client) bool { return c.ID == g.ClientID })
	if i >= 0 && a.Clients[i].Notify {
		page := a.server.Load().handler.Pages.ConnectionsURL()
		a.dispatcher.dispatch(eventConnected, connection(&a.Clients[i], g, page))
	}
}

// cleanEmail returns the person's email address, or "" if it has control characters
// and the like: a handler may put it into a mail header.
func cleanEmail(p *deviceauth.Person) string {
	if email := p.Claims.String("email"); text.IsClean(email) {
		return email
	}
	return ""
}

// connection returns the data of eventConnected, enough for a mail to the person.
// Names come from the configuration and the upstream, and control characters are
// removed from them.
func connection(c *Client, g *deviceauth.Grant, page string) map[string]any {
	return map[string]any{
		"grant": g.ID.String(), "client_id": c.ID, "scope": string(g.Scope), "connections": page,
		"device": text.Plain(cmp.Or(c.Name, c.ID)), "maker": text.Plain(c.Maker),
		"device_ip": g.From.String(), "time": g.Redeemed.Format(time.RFC3339),
		"subject": g.Person.Subject, "user": g.Person.User, "name": text.Plain(g.Person.Name()),
		"email": cleanEmail(g.Person), "email_verified": g.Person.Claims.Bool("email_verified"),
	}
}
