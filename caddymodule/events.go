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

// eventConnected is emitted in Caddy's events app, beside those of the audit
// log, when a device of a client with notify has been given its tokens, for an
// operator to route to mail or chat.
const eventConnected = "device_connected"

// A dispatcher tells Caddy's events app what happened, one event after the other,
// so that no device waits for a handler that sends mail.
type dispatcher struct {
	emitter
	log   *zap.Logger
	mu    sync.RWMutex // held for writing by end: nobody tells what nobody reads
	ended bool
	queue chan event
	done  chan struct{}
	lost  *sampling.Sampler[string] // of events, by name
}

// An emitter is Caddy's events app, seen from one module.
type emitter struct {
	heard func(name string) bool // whether anybody listens
	emit  func(name string, data map[string]any)
}

// An event is what happened.
type event struct {
	name string
	data map[string]any
}

const (
	dispatcherQueue    = 1000            // events that may wait to be told
	dispatcherPatience = 5 * time.Second // for handlers, when the configuration ends
)

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

// tell does not wait for handlers, unless the configuration has ended: a
// request that outlives it tells by itself.
func (h *dispatcher) tell(name string, data map[string]any) {
	if !h.heard(name) {
		return
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.ended {
		h.emit(name, data)
		return
	}
	select {
	case h.queue <- event{name, data}:
	default:
		if h.lost.Pass(name) {
			h.log.Error("an event was lost: its handlers are too slow", zap.String("event", name), zap.Any("grant", data["grant"]))
		}
	}
}

// end waits for what is still to be told.
func (h *dispatcher) end() {
	h.mu.Lock()
	h.ended = true
	h.mu.Unlock()
	close(h.queue)
	h.lost.Close()
	select {
	case <-h.done:
	case <-time.After(dispatcherPatience):
		h.log.Error("events may be lost: their handlers are too slow", zap.Int("waiting", len(h.queue)))
	}
}

// connected tells of a device that was given its tokens.
func (a *App) connected(g *deviceauth.Grant) {
	i := slices.IndexFunc(a.Clients, func(c Client) bool { return c.ID == g.ClientID })
	if i >= 0 && a.Clients[i].Notify {
		a.dispatcher.tell(eventConnected, connection(&a.Clients[i], g, a.server.Load().handler.Pages.ConnectionsURL()))
	}
}

// cleanEmail is the person's address, where it can be written to as it is.
func cleanEmail(p *deviceauth.Person) string {
	if email := p.Claims.String("email"); text.IsClean(email) {
		return email
	}
	return ""
}

// connection is the event's data: enough for a mail to the person.
func connection(c *Client, g *deviceauth.Grant, page string) map[string]any {
	return map[string]any{
		"grant": g.ID.String(), "client_id": c.ID, "device": text.Plain(cmp.Or(c.Name, c.ID)), "maker": text.Plain(c.Maker),
		"device_ip": g.From.String(), "scope": string(g.Scope), "time": g.Redeemed.Format(time.RFC3339), "connections": page,
		"subject": g.Person.Subject, "user": g.Person.User, "name": text.Plain(g.Person.Name()), "email": cleanEmail(g.Person), "email_verified": g.Person.Claims.Bool("email_verified"),
	}
}
