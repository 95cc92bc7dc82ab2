package caddymodule

import (
	"time"

	"go.uber.org/zap"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// eventConnected is emitted in Caddy's events app when a device of a client
// with notify has been given its tokens, for an operator to route to mail or
// chat.
const eventConnected = "device_connected"

// A herald tells Caddy's events app what happened, one event after the other,
// so that no device waits for a handler that sends mail.
type herald struct {
	queue chan map[string]any
	stop  chan struct{}
	done  chan struct{}
}

const (
	heraldQueue    = 1000            // connections that may wait to be told
	heraldPatience = 5 * time.Second // for handlers, when the configuration ends
)

func newHerald(emit func(string, map[string]any)) *herald {
	h := &herald{make(chan map[string]any, heraldQueue), make(chan struct{}), make(chan struct{})}
	go h.run(emit)
	return h
}

func (h *herald) run(emit func(string, map[string]any)) {
	defer close(h.done)
	for {
		select {
		case data := <-h.queue:
			emit(eventConnected, data)
			continue
		default:
		}
		select {
		case data := <-h.queue:
			emit(eventConnected, data)
		case <-h.stop:
			return // with nothing left to tell
		}
	}
}

// end waits for what is still to be told.
func (h *herald) end() {
	close(h.stop)
	select {
	case <-h.done:
	case <-time.After(heraldPatience):
	}
}

// connected tells of a device that was given its tokens.
func (a *App) connected(g *deviceauth.Grant) {
	for _, c := range a.engine.Clients {
		if c.ID == g.ClientID && a.notifies(c.ID) {
			a.herald.tell(a.log, connection(c, g, a.server.pages.ConnectionsURL()))
		}
	}
}

func (a *App) notifies(client string) bool {
	for _, c := range a.Clients {
		if c.ID == client {
			return c.Notify
		}
	}
	return false
}

func (h *herald) tell(log *zap.Logger, data map[string]any) {
	select {
	case h.queue <- data:
	default:
		log.Error("an event was lost: its handlers are too slow", zap.String("event", eventConnected), zap.Any("grant", data["grant"]))
	}
}

// connection is the event's data: enough for a mail to the person.
func connection(c deviceauth.Client, g *deviceauth.Grant, page string) map[string]any {
	name := c.Name
	if name == "" {
		name = c.ID
	}
	return map[string]any{
		"grant": g.ID.String(), "client_id": c.ID, "device": deviceauth.Plain(name), "maker": deviceauth.Plain(c.Maker),
		"device_ip": g.From.String(), "scope": string(g.Scope), "time": g.Redeemed.Format(time.RFC3339), "connections": page,
		"subject": g.Person.Subject, "user": g.Person.User, "name": deviceauth.Plain(g.Person.Name()), "email": g.Person.Claims.String("email"),
	}
}
