package caddymodule

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// Client is a kind of device, known by its client_id.
type Client struct {
	ID string `json:"id"`
	// What the consent page calls it, who makes it, and its picture.
	Name  string `json:"name,omitempty"`
	Maker string `json:"maker,omitempty"`
	Logo  string `json:"logo,omitempty"`
	// The secret of a confidential client; placeholders are allowed. Without
	// one it is a public client.
	Secret *string `json:"secret,omitempty"`
	// All scopes that it may ask for, and those it gets when it asks for none.
	Scopes []string `json:"scopes,omitempty"`
	// Redirect URIs of its logins in the browser (RFC 6749 §3.1.2, RFC 8252): https URLs,
	// URLs of a loopback host such as http://127.0.0.1/callback, whose port may be any, or
	// those of a private-use scheme. None: it logs in by a code on a device alone.
	Redirects []string `json:"redirects,omitempty"`
	// Origins of browser pages that may play this device.
	Origins []string `json:"origins,omitempty"`
	// Networks (CIDR) or addresses that it may ask from. None: anywhere.
	From []string `json:"from,omitempty"`
	// Who may approve it, of those whom their upstream lets: any rule that
	// matches suffices. None: all of them.
	Allow []deviceauth.Allow `json:"allow,omitempty"`
	// What follows when a person approves it from another network: off, warn
	// or require. Default: as for all clients.
	Network deviceauth.Network `json:"network,omitempty"`
	// How long its codes live. Default: as for all clients.
	DeviceCode caddy.Duration `json:"device_code_lifetime,omitempty"`
	// Its code has to be typed: no link or QR code brings it along.
	Typed bool `json:"prefilled_off,omitempty"`
	// The person who approves it has to sign in anew at the upstream.
	Fresh bool `json:"sign_in_fresh,omitempty"`
	// The signing algorithm of its ID tokens: RS256, for a client that takes no
	// other. Default: that of all tokens.
	IDToken string `json:"id_token,omitempty"`
	// It is no device but a guard in another Caddy, which introspection tells
	// who stands behind a token. It needs a secret.
	Guard bool `json:"guard,omitempty"`
	// Emit the event `device_connected` whenever one is connected.
	Notify bool `json:"notify,omitempty"`

	secret string // resolved
}

// config is the client as the engine wants it, with the secret resolved and the
// networks parsed.
func (c *Client) config() (deviceauth.Client, error) {
	client := deviceauth.Client{
		ID: c.ID, Name: c.Name, Vendor: c.Maker, Logo: c.Logo,
		Public: c.Secret == nil, Secret: deviceauth.Secret(c.secret),
		Scope: deviceauth.NewScope(c.Scopes...), Redirects: c.Redirects, Origins: c.Origins,
		Allow: c.Allow, Network: c.Network,
		Code: time.Duration(c.DeviceCode), ManualEntry: c.Typed, FreshSignIn: c.Fresh,
		ResourceServer: c.Guard, IDToken: c.IDToken,
	}
	if err := cmp.Or(checkOrigins(c.Origins), checkScopeNames(c.Scopes)); err != nil {
		return client, fmt.Errorf("client %s: %w", c.ID, err)
	}
	var err error
	client.From, err = parseNetworks("client "+c.ID+": from", c.From)
	return client, err
}

// checkOrigins wants origins as browsers send them (RFC 6454 §6.2), without a
// path: any other spelling would never equal an Origin header.
func checkOrigins(origins []string) error {
	for _, o := range origins {
		if u, err := url.Parse(o); err != nil || u.Scheme == "" || u.Host == "" || o != u.Scheme+"://"+u.Host {
			return fmt.Errorf("origin %q: want scheme, host and port only, such as https://app.example.com", o)
		}
	}
	return nil
}

// check checks the client without resolving placeholders: it is enough that a
// secret is configured.
func (c *Client) check() error {
	client, err := c.config()
	if err != nil {
		return err
	}
	if !client.Public {
		client.Secret = "is there"
	}
	return deviceauth.Config{Issuer: "https://localhost", Clients: []deviceauth.Client{client}}.Check()
}

// checkSoFar is check before all lines of the block have been read. A guard
// needs a secret, which may be on a later line.
func (c *Client) checkSoFar() error {
	part := *c
	if part.Secret == nil && part.Guard {
		part.Secret = new(string)
	}
	return part.check()
}

// checkLogo wants a picture that browsers show on the issuer's pages: from an
// https URL, or an http one where the issuer itself has no TLS, because browsers
// block mixed content.
func checkLogo(what, logo, issuer string) error {
	shown := []string{"/", "https://", "data:image/"}
	if strings.HasPrefix(issuer, "http://") {
		shown = append(shown, "http://")
	}
	elsewhere := strings.HasPrefix(logo, "//") // a host, of whatever scheme the page has
	isShown := slices.ContainsFunc(shown, func(begin string) bool { return strings.HasPrefix(logo, begin) })
	if logo == "" || isShown && !elsewhere {
		return nil
	}
	return fmt.Errorf("%s %q: want an https address, or a path from the site's root", what, logo)
}
