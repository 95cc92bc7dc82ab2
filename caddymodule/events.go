package caddymodule

import (
	"cmp"
	"slices"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// eventConnected is emitted in Caddy's events app, besides the events of the audit
// log, when a device of a client with notify has received its tokens. An operator can
// route it to mail or chat.
const eventConnected = "device_connected"

// connected emits eventConnected for a redeemed grant, if its client has notify.
func (a *App) connected(g *deviceauth.Grant) {
	// The client may have been removed from the configuration since the grant was
	// created.
	i := slices.IndexFunc(a.Clients, func(c Client) bool { return c.ID == g.ClientID })
	if i >= 0 && a.Clients[i].Notify {
		page := a.server.Load().handler.Pages.ConnectionsURL()
		a.dispatcher.Dispatch(eventConnected, connection(&a.Clients[i], g, page))
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
