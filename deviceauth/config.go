package deviceauth

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/discovery"
)

// Config is the configuration of an [Engine]. A zero value means the documented
// default, and never "everyone" or "unlimited".
type Config struct {
	Issuer  string             // the issuer URL, exactly as tokens and metadata name it
	Clients []Client           // of the configuration
	Allow   map[string][]Allow // by upstream id: who may approve; an id without rules: everyone who can sign in there
	// Registration configures which clients may introduce themselves.
	Registration Registration
	Scopes       []ScopeText // explanations for the consent page
	Audience     []string    // allowed values of audience and resource, the first is the default; none: the issuer
	// UserClaim is, by upstream id, the claim that becomes Person.User. By default
	// that is the upstream's sub or, with several upstreams, the subject, because two
	// upstreams may have the same sub.
	UserClaim map[string]string
	UserCode  Mask
	Network   Network        // default NetworkWarn
	Networks  []netip.Prefix // within one of these, two addresses are in the same network
	// JoinedNetworks are networks of several prefixes, such as an office with IPv4
	// and IPv6: any two addresses within one list are in the same network.
	JoinedNetworks [][]netip.Prefix
	// NAT64 are IPv6 prefixes with which a translator embeds IPv4 addresses, besides
	// the well-known prefix 64:ff9b::/96 (RFC 6052 §2.2).
	NAT64    []netip.Prefix
	Lifetime Lifetime
	Pending  PendingLimits
	Wait     time.Duration // how long a pending poll is held; default 2.5 s, negative: not at all
	Interval time.Duration // between polls; default 1 s, or 5 s where polls are not held

	Store      Store
	Documents  Documents // stores the sessions of people, and sign-outs; nil: the store, if it is one too
	Signer     Signer
	RefreshKey func() [32]byte // returns the current key of refresh tokens; a new key invalidates all of them
	// state that is only in memory; nil: a new one. Pass the old one to a new engine
	// over the same store.
	PollState *PollState
	Events    func(Event)
	Polls     func(answer string) // called with the response to each poll: tokens, the code of a refusal, or fault

	// Revalidate asks the upstream about a person at every refresh, and returns the
	// person's current claims. A *Error means that the person's account has ended;
	// any other error, that the upstream could not be asked. nil: persons are not
	// checked again.
	Revalidate func(context.Context, *Person) (*Person, error)
}

// A ScopeText explains to people what a scope allows.
type ScopeText struct {
	Scope string
	// Text is for people whose language is not in Texts. Empty: they get the English
	// text of Texts, or else the first.
	Text  string
	Texts []LocalizedText // one for each language
}

// A LocalizedText is a text in one language.
type LocalizedText struct {
	Language string `json:"language"` // a language tag (BCP 47), such as de or pt-BR
	Text     string `json:"text"`
}

// Lifetime are lifetimes and time limits; zero means the default.
type Lifetime struct {
	DeviceCode   time.Duration // 10 m
	AccessToken  time.Duration // 15 m
	RefreshToken time.Duration // 90 d, regardless of use
	RefreshIdle  time.Duration // 30 d without use
	RefreshGrace time.Duration // 30 s in which a used refresh token is accepted as a retry; negative: none
	Session      time.Duration // 12 h that a person stays signed in
}

const day = 24 * time.Hour

// maxSession is the longest time that a person can stay signed in, with any
// configuration.
const maxSession = 30 * day

// The defaults. Held polls make a short interval cheap; 2.5 s is below the 3.5 s
// after which some clients stop waiting for a response.
const (
	defaultWait         = 2500 * time.Millisecond
	defaultInterval     = 5 * time.Second // RFC 8628 §3.2
	defaultHeldInterval = time.Second
)

func orDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

func (c *Config) fill() {
	orDefault(&c.Network, NetworkWarn)
	orDefault(&c.UserCode, Mask{pattern: "****-****", set: Base20})
	orDefault(&c.Lifetime.DeviceCode, 10*time.Minute)
	orDefault(&c.Lifetime.AccessToken, 15*time.Minute)
	orDefault(&c.Lifetime.RefreshToken, 90*day)
	orDefault(&c.Lifetime.RefreshIdle, 30*day)
	orDefault(&c.Lifetime.RefreshGrace, 30*time.Second)
	orDefault(&c.Lifetime.Session, 12*time.Hour)
	orDefault(&c.Wait, defaultWait)
	c.Pending.fill()
	orDefault(&c.PollState, NewPollState())
	if c.Wait > 0 {
		orDefault(&c.Interval, defaultHeldInterval)
	}
	orDefault(&c.Interval, defaultInterval)
	orDefault(&c.Registration.Limit, 1000)
	if len(c.Audience) == 0 {
		c.Audience = []string{c.Issuer}
	}
}

// Check validates a configuration as [New] does. It uses neither store nor signer, so
// that a configuration can be checked without opening anything.
func (c Config) Check() error {
	c.fill()
	if err := discovery.CheckIssuer(c.Issuer); err != nil {
		return err
	}
	if err := c.checkTimes(); err != nil {
		return err
	}
	if err := c.UserCode.check(); err != nil {
		return err
	}
	if err := c.Network.check(); err != nil {
		return err
	}
	if err := CheckNAT64(c.NAT64); err != nil {
		return err
	}
	for _, a := range c.Audience {
		if u, err := url.Parse(a); err != nil || !u.IsAbs() || u.Fragment != "" {
			return fmt.Errorf("audience %q: want an absolute URI without a fragment (RFC 8707 §2)", a)
		}
	}
	if c.Pending.PerAddress < 0 || c.Pending.PerClient < 0 || c.Pending.Total < 0 {
		return errors.New("pending: want positive numbers")
	}
	if err := c.Registration.check(); err != nil {
		return err
	}
	return c.checkClients()
}

func (c *Config) checkTimes() error {
	for _, d := range []struct {
		name string
		is   time.Duration
		min  time.Duration
		max  time.Duration
	}{
		{"lifetime device_code", c.Lifetime.DeviceCode, time.Second, day},
		{"lifetime access_token", c.Lifetime.AccessToken, time.Second, day},
		{"lifetime refresh_token", c.Lifetime.RefreshToken, time.Second, 3660 * day},
		{"lifetime refresh_idle", c.Lifetime.RefreshIdle, time.Second, 3660 * day},
		{"lifetime refresh_grace", max(c.Lifetime.RefreshGrace, 0), 0, 10 * time.Minute},
		{"lifetime session", c.Lifetime.Session, time.Second, maxSession},
		{"wait", max(c.Wait, 0), 0, time.Minute},
		{"interval", c.Interval, time.Second, maxInterval},
	} {
		if d.is < d.min || d.is > d.max {
			return fmt.Errorf("%s %v: want %v to %v", d.name, d.is, d.min, d.max)
		}
	}
	return nil
}

func (c *Config) checkClients() error {
	seen := map[string]bool{}
	for i := range c.Clients {
		client := &c.Clients[i]
		if err := client.check(); err != nil {
			return err
		}
		for _, uri := range client.Redirects {
			if leadsTo(c.Issuer, uri) {
				return fmt.Errorf("client %q: redirect %q: that is the issuer itself", client.ID, uri)
			}
		}
		if seen[client.ID] {
			return fmt.Errorf("duplicate client %s", client.ID)
		}
		seen[client.ID] = true
	}
	return nil
}

// PendingLimits limit how many grants may be pending at a time. Without them an
// attacker could fill the store, or make guessing easier with a large number of valid
// codes.
type PendingLimits struct {
	// PerAddress limits one IPv4 address, or one IPv6 /64; default 500. Larger
	// networks have a multiple of it: an IPv4 /24 and an IPv6 /56 four times, an IPv6
	// /48 sixteen times.
	PerAddress int
	PerClient  int // of one client; default 100,000
	Total      int // default 200,000
}

func (l *PendingLimits) fill() {
	orDefault(&l.PerAddress, 500)
	orDefault(&l.PerClient, 100_000)
	orDefault(&l.Total, 200_000)
}
