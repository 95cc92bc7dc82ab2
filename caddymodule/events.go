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

// eventConnected is emitted in Caddy's events app, beside the events of the
// audit log, when a device of a client with notify has received its tokens. An
// operator can route it to mail or chat.
const eventConnected = "device_connected"

// A dispatcher hands events to Caddy's events app, one after the other, in a
// goroutine of its own: a device must not wait for an event handler that sends
// mail. Where handlers are too slow, events are dropped, and counted in the log.
type dispatcher struct {
	emitter
	log   *zap.Logger
	mu    sync.RWMutex // end holds it for writing: afterwards nothing is sent to the closed queue
	ended bool
	queue chan event
	done  chan struct{}
	lost  *sampling.Sampler[string] // of events, by name
}

// An emitter is Caddy's events app, as one module sees it.
type emitter struct {
	subscribed func(name string) bool // whether any handler subscribes to the event
	emit       func(name string, data map[string]any)
}

// An event is what the events app is given: a stable name and its members.
type event struct {
	name string
	data map[string]any
}

const (
	dispatcherQueue   = 1000            // events that may wait for handlers
	dispatcherTimeout = 5 * time.Second // for the handlers of waiting events, when the configuration ends
)

// newDispatcher starts the goroutine that emits events until end.
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
// configuration is emitted by the request itself.
func (h *dispatcher) dispatch(name string, data map[string]any) {
	if !h.subscribed(name) {
		return
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	// The queue is closed then, and has no reader.
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

// end waits for the events that are still queued, for dispatcherTimeout at most.
func (h *dispatcher) end() {
	h.mu.Lock()
	h.ended = true
	// The lock is released before the wait: events of requests that are still
	// under way are emitted meanwhile.
	h.mu.Unlock()
	close(h.queue)
	h.lost.Close()
	select {
	case <-h.done:
	case <-time.After(dispatcherTimeout):
		h.log.Error("events may be lost: their handlers are too slow", zap.Int("waiting", len(h.queue)))
	}
}

// connected emits eventConnected for a grant that was redeemed, if its client
// has notify.
func (a *App) connected(g *deviceauth.Grant) {
	// The client may have been removed from the configuration since the grant
	// was made.
	i := slices.IndexFunc(a.Clients, func(c Client) bool { return c.ID == g.ClientID })
	if i >= 0 && a.Clients[i].Notify {
		page := a.server.Load().handler.Pages.ConnectionsURL()
		a.dispatcher.dispatch(eventConnected, connection(&a.Clients[i], g, page))
	}
}

// cleanEmail is the person's email address, if the address is free of control
// characters and the like: a handler may put it into a mail header.
func cleanEmail(p *deviceauth.Person) string {
	if email := p.Claims.String("email"); text.IsClean(email) {
		return email
	}
	return ""
}

// connection is the data of eventConnected: enough to write the person a mail.
// Names come from the configuration and the upstream, and are cleaned of control
// characters.
func connection(c *Client, g *deviceauth.Grant, page string) map[string]any {
	return map[string]any{
		"grant": g.ID.String(), "client_id": c.ID, "scope": string(g.Scope), "connections": page,
		"device": text.Plain(cmp.Or(c.Name, c.ID)), "maker": text.Plain(c.Maker),
		"device_ip": g.From.String(), "time": g.Redeemed.Format(time.RFC3339),
		"subject": g.Person.Subject, "user": g.Person.User, "name": text.Plain(g.Person.Name()),
		"email": cleanEmail(g.Person), "email_verified": g.Person.Claims.Bool("email_verified"),
	}
}
