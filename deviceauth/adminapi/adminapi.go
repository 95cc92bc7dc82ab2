// Package adminapi has the JSON documents of the routes at Caddy's admin endpoint by
// which an operator lists and ends grants. Packages operator and caddymodule write these
// documents, and package cli reads them. They are a public interface: members may
// only be added.
package adminapi

import (
	"net/netip"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// Path is the path of the routes at the admin endpoint, with a trailing slash.
const Path = "/device_login/"

// A Grant is a grant as operators see it: without digests and tokens, and with only
// the last characters of a user code, after the code has been used.
type Grant struct {
	ID       deviceauth.ID       `json:"id"`
	State    deviceauth.Standing `json:"state"`
	Client   string              `json:"client"`
	Person   *Person             `json:"person,omitempty"` // who approved
	Scope    deviceauth.Scope    `json:"scope,omitempty"`
	Audience []string            `json:"audience,omitempty"`
	From     netip.Addr          `json:"from,omitzero"`   // address of the device's request
	Place    string              `json:"place,omitempty"` // description of that address's location
	CodeTail string              `json:"code_tail,omitempty"`
	Name     string              `json:"device_name,omitempty"`  // given to the device by its person
	Label    string              `json:"device_label,omitempty"` // sent by the device itself
	Created  time.Time           `json:"created"`
	Decided  time.Time           `json:"decided,omitzero"`
	Redeemed time.Time           `json:"redeemed,omitzero"`
	Used     time.Time           `json:"last_used,omitzero"`
	Expires  time.Time           `json:"expires,omitzero"` // may be postponed when the grant is used
	Ended    time.Time           `json:"ended,omitzero"`
	Reason   string              `json:"reason,omitempty"`
}

// A Person is the person who approved a grant, as described by the upstream. Claims
// are all claims that are stored; they are left out unless requested.
type Person struct {
	Subject string `json:"subject"`
	User    string `json:"user"`
	Name    string `json:"name,omitempty"`
	Email   string `json:"email,omitempty"`

	Claims deviceauth.Claims `json:"claims,omitempty"`
}

// GrantOf returns what an operator sees of a grant now. Its state depends on the
// time, because expiry is not stored in the record.
func GrantOf(g *deviceauth.Grant) Grant {
	now := time.Now()
	v := Grant{
		// The zero time of an event that has not happened is omitted.
		ID: g.ID, State: g.Standing(now), Client: g.ClientID, Scope: g.Scope, Audience: g.Audience,
		From: g.From, Place: g.Place, CodeTail: g.CodeTail(), Name: g.Name, Label: g.Label,
		Created: g.Created, Decided: g.Decided, Redeemed: g.Redeemed, Used: g.Used(), Expires: g.Until(now),
		Ended: g.Ended, Reason: g.Reason,
	}
	// A pending grant has no person.
	if p := g.Person; p != nil {
		v.Person = &Person{
			Subject: p.Subject, User: p.User, Name: p.Claims.String("name"), Email: p.Claims.String("email"),
		}
	}
	return v
}

// Grants is one page of a list. Next is the cursor for the following page, and empty
// on the last one; another page may be short as well.
type Grants struct {
	Grants []Grant `json:"grants"`
	Next   string  `json:"next,omitempty"`
}

// These are the bounds of a page. A thousand grants are a megabyte at most.
const (
	DefaultLimit = 100
	MaxLimit     = 1000
)

// A Sessions names the person whose sessions at the pages have ended.
type Sessions struct {
	Person string    `json:"person"` // a subject
	Ended  time.Time `json:"ended"`  // sessions that began before this time have ended
}

// A Pause says whether connecting devices is paused.
type Pause struct {
	Paused bool `json:"paused"`
	deviceauth.Pause
}

// Health says whether the device login works, for monitoring.
type Health struct {
	Status string `json:"status"` // ok or unavailable
	Reason string `json:"reason,omitempty"`
}

// A Client is what commands show of a client. The route returns its whole
// configuration except the secret.
type Client struct {
	ID     string   `json:"id"`
	Name   string   `json:"name"`
	Maker  string   `json:"maker"`
	Scopes []string `json:"scopes"`
	Public bool     `json:"public"`

	Introduced *Introduction `json:"introduced,omitempty"` // nil: the client is configured
}

// An Introduction describes how a client that is not configured was added.
type Introduction struct {
	Host     string    `json:"host,omitempty"` // where the client claims to be from
	Since    time.Time `json:"since"`
	Used     bool      `json:"used"`     // a person has approved it
	Approved bool      `json:"approved"` // the operator vouches for it
}

// A ClientChange is the result of a change to a client that introduced itself.
type ClientChange struct {
	ID       string `json:"id"`
	Approved bool   `json:"approved,omitempty"`
	Removed  bool   `json:"removed,omitempty"`
}
