// Package adminapi has the JSON documents of the routes at Caddy's admin
// endpoint, by which an operator inspects and ends what there is. Package
// caddymodule writes them, and package cli reads them. It decides nothing, and
// its members are public: they are only added to.
package adminapi

import (
	"net/netip"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// Path is the path of the routes at the admin endpoint, with a slash at its end.
const Path = "/device_login/"

// A Grant is a grant as an operator sees it: without digests and tokens, and of
// a user code only the last characters, once the code is spent.
type Grant struct {
	ID       deviceauth.ID       `json:"id"`
	State    deviceauth.Standing `json:"state"`
	Client   string              `json:"client"`
	Person   *Person             `json:"person,omitempty"` // who approved
	Scope    deviceauth.Scope    `json:"scope,omitempty"`
	Audience []string            `json:"audience,omitempty"`
	From     netip.Addr          `json:"from,omitzero"`   // address that the device asked from
	Place    string              `json:"place,omitempty"` // the place of that address, in words
	CodeTail string              `json:"code_tail,omitempty"`
	Name     string              `json:"device_name,omitempty"`  // that its person gave the device
	Label    string              `json:"device_label,omitempty"` // by which the device called itself
	Created  time.Time           `json:"created"`
	Decided  time.Time           `json:"decided,omitzero"`
	Redeemed time.Time           `json:"redeemed,omitzero"`
	Used     time.Time           `json:"last_used,omitzero"`
	Expires  time.Time           `json:"expires,omitzero"` // use of the grant may postpone it
	Ended    time.Time           `json:"ended,omitzero"`
	Reason   string              `json:"reason,omitempty"`
}

// A Person is the person who approved a grant, as the upstream vouched for them.
// Claims are all claims that are kept, and absent unless they are asked for.
type Person struct {
	Subject string `json:"subject"`
	User    string `json:"user"`
	Name    string `json:"name,omitempty"`
	Email   string `json:"email,omitempty"`

	Claims deviceauth.Claims `json:"claims,omitempty"`
}

// GrantOf returns what an operator sees of a grant now. Its state depends on the
// time, because expiry is no state of the record.
func GrantOf(g *deviceauth.Grant) Grant {
	now := time.Now()
	v := Grant{
		// The zero time of an event that has not happened is left out of the
		// document.
		ID: g.ID, State: g.Standing(now), Client: g.ClientID, Scope: g.Scope, Audience: g.Audience,
		From: g.From, Place: g.Place, CodeTail: g.CodeTail(), Name: g.Name, Label: g.Label,
		Created: g.Created, Decided: g.Decided, Redeemed: g.Redeemed, Used: g.Used(), Expires: g.Until(now),
		Ended: g.Ended, Reason: g.Reason,
	}
	// A grant that is still pending has no person.
	if p := g.Person; p != nil {
		v.Person = &Person{
			Subject: p.Subject, User: p.User, Name: p.Claims.String("name"), Email: p.Claims.String("email"),
		}
	}
	return v
}

// Grants is one page of a list. Next is the cursor for the following page, and
// empty on the last one; a page may be short before that.
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

// A Client is what commands show of a client. The route answers with all of its
// configuration but the secret.
type Client struct {
	ID     string   `json:"id"`
	Name   string   `json:"name"`
	Maker  string   `json:"maker"`
	Scopes []string `json:"scopes"`
	Public bool     `json:"public"`

	Introduced *Introduction `json:"introduced,omitempty"` // nil: it is configured
}

// An Introduction says how a client was added that is not in the configuration.
type Introduction struct {
	Host     string    `json:"host,omitempty"` // where it says that it is from
	Since    time.Time `json:"since"`
	Used     bool      `json:"used"`     // a person has allowed it
	Approved bool      `json:"approved"` // the operator vouches for it
}

// A ClientChange says what became of a client that introduced itself.
type ClientChange struct {
	ID       string `json:"id"`
	Approved bool   `json:"approved,omitempty"`
	Removed  bool   `json:"removed,omitempty"`
}
