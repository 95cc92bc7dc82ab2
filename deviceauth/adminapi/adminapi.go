// Package adminapi has the documents of the routes at Caddy's admin endpoint, by which
// an operator looks in and stops things: what the server writes, and the commands read.
// It decides nothing.
package adminapi

import (
	"net/netip"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// Path is where the routes are.
const Path = "/device_login/"

// A Grant is one as an operator sees it: no digest, no token, and no code
// but for the last letters of one that is spent.
type Grant struct {
	ID       deviceauth.ID       `json:"id"`
	State    deviceauth.Standing `json:"state"`
	Client   string              `json:"client"`
	Person   *Person             `json:"person,omitempty"` // who said yes
	Scope    deviceauth.Scope    `json:"scope,omitempty"`
	Audience []string            `json:"audience,omitempty"`
	From     netip.Addr          `json:"from,omitzero"`   // where the device asked from
	Place    string              `json:"place,omitempty"` // the same in words
	CodeTail string              `json:"code_tail,omitempty"`
	Name     string              `json:"device_name,omitempty"`  // what its person calls it
	Label    string              `json:"device_label,omitempty"` // what it calls itself
	Created  time.Time           `json:"created"`
	Decided  time.Time           `json:"decided,omitzero"`
	Redeemed time.Time           `json:"redeemed,omitzero"`
	Used     time.Time           `json:"last_used,omitzero"`
	Expires  time.Time           `json:"expires,omitzero"` // unless it is used, where use prolongs it
	Ended    time.Time           `json:"ended,omitzero"`
	Reason   string              `json:"reason,omitempty"`
}

type Person struct {
	Subject string `json:"subject"`
	User    string `json:"user"`
	Name    string `json:"name,omitempty"`
	Email   string `json:"email,omitempty"`

	Claims deviceauth.Claims `json:"claims,omitempty"` // all that is kept, where that is asked for
}

// GrantOf returns what an operator is told of a grant now.
func GrantOf(g *deviceauth.Grant) Grant {
	now := time.Now()
	v := Grant{
		ID: g.ID, State: g.Standing(now), Client: g.ClientID, Scope: g.Scope, Audience: g.Audience,
		From: g.From, Place: g.Place, CodeTail: g.CodeTail(), Name: g.Name, Label: g.Label,
		Created: g.Created, Decided: g.Decided, Redeemed: g.Redeemed, Used: g.Used(), Expires: g.Until(now),
		Ended: g.Ended, Reason: g.Reason,
	}
	if p := g.Person; p != nil {
		v.Person = &Person{
			Subject: p.Subject, User: p.User, Name: p.Claims.String("name"), Email: p.Claims.String("email"),
		}
	}
	return v
}

// Grants is one page. There are more grants as long as there is a next.
type Grants struct {
	Grants []Grant `json:"grants"`
	Next   string  `json:"next,omitempty"`
}

// The bounds of a page: a thousand grants are a megabyte at most.
const (
	DefaultLimit = 100
	MaxLimit     = 1000
)

// A Sessions says whose sessions at the pages have ended.
type Sessions struct {
	Person string    `json:"person"` // a subject
	Ended  time.Time `json:"ended"`  // those that were begun by then
}

// A Pause says whether connecting devices is paused.
type Pause struct {
	Paused bool `json:"paused"`
	deviceauth.Pause
}

// Health is what whoever asks is told.
type Health struct {
	Status string `json:"status"` // ok or unavailable
	Reason string `json:"reason,omitempty"`
}

// A Client is what commands show of a client. The route answers with all of its
// configuration but the secret.
type Client struct {
	ID     string   `json:"id"`
	Name   string   `json:"name"`
	Maker  string   `json:"maker"`
	Scopes []string `json:"scopes"`
	Public bool     `json:"public"`
}
