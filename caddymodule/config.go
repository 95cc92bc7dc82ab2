package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/httpclient"
	"github.com/deviceauth/caddy-deviceauth/upstreamidp"
)

// Upstream is an OpenID provider where people sign in.
type Upstream struct {
	// A short name. It is the prefix of subjects, so it must never change.
	ID string `json:"id"`
	// The provider's issuer URL.
	Issuer string `json:"issuer"`
	// The label of the sign-in button. Default: the id.
	Name string `json:"name,omitempty"`
	// The client id and secret of this gateway at the provider, which may have
	// placeholders. Without a secret it is a public client.
	ClientID     string  `json:"client_id"`
	ClientSecret *string `json:"client_secret,omitempty"`
	// Default: openid profile email.
	Scopes []string `json:"scopes,omitempty"`
	// Who may approve; one matching rule is enough. None: everyone who can sign in.
	Allow []deviceauth.Allow `json:"allow,omitempty"`
	// The claim that becomes Remote-User. Default: the provider's `sub` or, with
	// several upstreams, the subject, which is unique.
	User string `json:"user,omitempty"`
	// Further claims to store, for guards in other Caddys. Without it, only these are
	// stored: the claims of OpenID Connect's scopes profile and email, groups, roles,
	// entitlements, acr and amr, and those that rules, user and headers of this Caddy's guards
	// use.
	Claims []string `json:"claims,omitempty"`
	// Whether to ask the provider at every refresh of a device about its person. If
	// the person was disabled there, their devices are disconnected. The provider
	// must issue refresh tokens, which are stored encrypted. `offline_access` is
	// requested unless the provider's metadata show that it is not supported.
	Revalidate bool `json:"revalidate,omitempty"`
	// Further parameters of the authorization request, for what a provider needs
	// beyond the standard. Parameters that the gateway sends itself are refused,
	// except `prompt` and `max_age`: the prompts are sent together.
	Authorize []upstreamidp.Parameter `json:"authorize,omitempty"`
	// A PEM file with certificates to trust besides the system's, if the provider's
	// certificate is from a private certificate authority.
	CA string `json:"ca,omitempty"`

	clientID, secret string       // resolved
	http             *http.Client // nil: the default one
}

// config returns the upstream in the form of upstreamidp, with placeholders resolved.
func (u *Upstream) config() upstreamidp.Config {
	return upstreamidp.Config{
		HTTPClient: u.http, ID: u.ID, Issuer: u.Issuer, Name: u.Name,
		ClientID: u.clientID, ClientSecret: deviceauth.Secret(u.secret),
		Scopes: u.Scopes, UserClaim: u.User, Revalidate: u.Revalidate, Authorize: u.Authorize,
		BackendClaims: slices.Clone(u.Claims),
	}
}

// check validates the upstream without resolving placeholders: a configured client id
// counts as valid.
func (u *Upstream) check() error {
	c := u.config()
	c.ClientID = u.ClientID
	if err := checkScopeNames(u.Scopes); err != nil {
		return fmt.Errorf("upstream %s: %w", u.ID, err)
	}
	return c.Check()
}

// checkSoFar is check for an incomplete block: the client id may be on a later line.
func (u *Upstream) checkSoFar() error {
	part := *u
	part.ClientID = "yet to come"
	return part.check()
}

// UserCode is the format of user codes.
type UserCode struct {
	// One * for each character; dashes and spaces are literal.
	Mask string `json:"mask,omitempty"`
	// base20, base10, or a list of characters.
	Set string `json:"set,omitempty"`
}

// check checks the mask and the character set (RFC 8628 §6.1).
func (u *UserCode) check() error {
	_, err := deviceauth.NewMask(u.Mask, u.Set)
	return err
}

// Lifetime are lifetimes and time limits.
type Lifetime struct {
	DeviceCode   caddy.Duration  `json:"device_code,omitempty"`   // default 10m
	AccessToken  caddy.Duration  `json:"access_token,omitempty"`  // default 15m
	RefreshToken caddy.Duration  `json:"refresh_token,omitempty"` // default 90d
	RefreshIdle  caddy.Duration  `json:"refresh_idle,omitempty"`  // default 30d
	RefreshGrace *caddy.Duration `json:"refresh_grace,omitempty"` // default 30s; 0: none
	Session      caddy.Duration  `json:"session,omitempty"`       // default 12h
}

// Pending limits how many grants may be pending at a time.
type Pending struct {
	Address int `json:"address,omitempty"` // from one address; default 500
	Client  int `json:"client,omitempty"`  // of one client; default 100000
	Total   int `json:"total,omitempty"`   // default 200000
}

// resolve replaces placeholders in secrets and client ids, with which they come from
// the environment or a file. The fields of the JSON configuration keep the
// placeholders, so that /config of the admin endpoint shows no secrets.
func (a *App) resolve() (err error) {
	repl := caddy.NewReplacer()
	for i := range a.Upstreams {
		u := &a.Upstreams[i]
		if u.clientID, err = repl.ReplaceOrErr(u.ClientID, true, true); err != nil {
			return fmt.Errorf("upstream %s: client_id: %w", u.ID, err)
		}
		if u.secret, err = secret(repl, u.ClientSecret); err != nil {
			return fmt.Errorf("upstream %s: client_secret: %w", u.ID, err)
		}
		if u.http, err = httpclient.New(u.CA, 0); err != nil {
			return fmt.Errorf("upstream %s: %w", u.ID, err)
		}
	}
	for i := range a.Clients {
		c := &a.Clients[i]
		if c.secret, err = secret(repl, c.Secret); err != nil {
			return fmt.Errorf("client %s: secret: %w", c.ID, err)
		}
	}
	if a.Registration != nil {
		if a.Registration.token, err = secret(repl, a.Registration.Token); err != nil {
			return fmt.Errorf("registration: token: %w", err)
		}
	}
	return nil
}

// errEmptySecret is the error of a secret that is configured but empty or blank: it comes
// from an environment variable that is not set, or from an empty file, and would silently make a client or an upstream
// public, or leave a store unencrypted.
var errEmptySecret = errors.New("it is empty; leave it out if there is to be none")

// secret resolves a secret; nil is none.
func secret(repl *caddy.Replacer, text *string) (string, error) {
	if text == nil {
		return "", nil
	}
	value, err := repl.ReplaceOrErr(*text, true, true)
	if err == nil && strings.TrimSpace(value) == "" {
		err = errEmptySecret
	}
	return value, err
}

// config returns the engine's configuration, without the parts that begin adds: the
// transient poll state of the store, and the functions for events and metrics.
func (a *App) config() (c deviceauth.Config, err error) {
	c = deviceauth.Config{
		Issuer: a.Issuer, Audience: a.Audience, Network: a.Network, Interval: time.Duration(a.Interval),
		Wait: orOff(a.Wait), Allow: map[string][]deviceauth.Allow{}, UserClaim: map[string]string{},
		Lifetime: deviceauth.Lifetime{
			DeviceCode: time.Duration(a.Lifetime.DeviceCode), AccessToken: time.Duration(a.Lifetime.AccessToken),
			RefreshToken: time.Duration(a.Lifetime.RefreshToken), RefreshIdle: time.Duration(a.Lifetime.RefreshIdle),
			RefreshGrace: orOff(a.Lifetime.RefreshGrace), Session: time.Duration(a.Lifetime.Session),
		},
		Pending: deviceauth.PendingLimits{
			PerAddress: a.Pending.Address, PerClient: a.Pending.Client, Total: a.Pending.Total,
		},
	}
	if a.UserCode != nil {
		if c.UserCode, err = deviceauth.NewMask(a.UserCode.Mask, a.UserCode.Set); err != nil {
			return c, err
		}
	}
	if c.JoinedNetworks, err = joinedNetworks(a.Networks); err != nil {
		return c, err
	}
	if c.NAT64, err = parseNetworks("nat64", a.NAT64); err != nil {
		return c, err
	}
	if c.Registration, err = a.Registration.config(); err != nil {
		return c, err
	}
	for _, s := range a.Scopes {
		c.Scopes = append(c.Scopes, s.config())
	}
	for _, u := range a.Upstreams {
		if _, twice := c.Allow[u.ID]; twice {
			return c, fmt.Errorf("duplicate upstream %s", u.ID)
		}
		c.Allow[u.ID], c.UserClaim[u.ID] = u.Allow, u.User
	}
	for _, client := range a.Clients {
		engineClient, err := client.config()
		if err != nil {
			return c, err
		}
		c.Clients = append(c.Clients, engineClient)
	}
	return c, nil
}

// orOff converts a duration for the engine, in which 0 means the default and a
// negative duration means off. In the configuration these are nil and 0.
func orOff(d *caddy.Duration) time.Duration {
	switch {
	case d == nil:
		return 0
	case *d == 0:
		return -1
	}
	return time.Duration(*d)
}

// parseNetworks parses prefixes and addresses; what names the option in errors.
func parseNetworks(what string, texts []string) (list []netip.Prefix, err error) {
	for _, text := range texts {
		network, err := parseNetwork(text)
		if err != nil {
			return nil, fmt.Errorf("%s %q: want a network such as 10.20.0.0/16, or an address", what, text)
		}
		list = append(list, network)
	}
	return list, nil
}

// parseNetwork parses a prefix, or an address as the prefix of that one address.
func parseNetwork(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return addr.Prefix(addr.BitLen())
	}
	return netip.ParsePrefix(text)
}
