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

// Client is a kind of device, identified by its client_id.
type Client struct {
	ID string `json:"id"`
	// Its name on the consent page, its manufacturer, and its picture.
	Name  string `json:"name,omitempty"`
	Maker string `json:"maker,omitempty"`
	Logo  string `json:"logo,omitempty"`
	// The secret of a confidential client, which may have placeholders. Without a
	// secret it is a public client.
	Secret *string `json:"secret,omitempty"`
	// All scopes that it may request, which are also the default.
	Scopes []string `json:"scopes,omitempty"`
	// Redirect URIs for the authorization code flow (RFC 6749 §3.1.2, RFC 8252):
	// https URLs, URLs of a loopback host such as http://127.0.0.1/callback, with any
	// port, or those of a private-use scheme. None: the client uses only the device
	// flow.
	Redirects []string `json:"redirects,omitempty"`
	// Origins of browser pages that may act as this client.
	Origins []string `json:"origins,omitempty"`
	// Networks (CIDR) or addresses that it may send requests from. None: any.
	From []string `json:"from,omitempty"`
	// Who may approve it, among those whom their upstream permits; one matching rule
	// is enough. None: all of these.
	Allow []deviceauth.Allow `json:"allow,omitempty"`
	// The policy for approvals from another network: off, warn or require. Default:
	// as for all clients.
	Network deviceauth.Network `json:"network,omitempty"`
	// The lifetime of its codes. Default: as for all clients.
	DeviceCode caddy.Duration `json:"device_code_lifetime,omitempty"`
	// Its code must be typed: links and QR codes do not contain it.
	Typed bool `json:"prefilled_off,omitempty"`
	// The person who approves it must sign in anew at the upstream.
	Fresh bool `json:"sign_in_fresh,omitempty"`
	// The signing algorithm of its ID tokens: RS256, for a client that accepts no
	// other. Default: that of all tokens.
	IDToken string `json:"id_token,omitempty"`
	// It is not a device but a guard in another Caddy, which gets the person from
	// introspection. It needs a secret.
	Guard bool `json:"guard,omitempty"`
	// Whether to emit the event `device_connected` when such a device is connected.
	Notify bool `json:"notify,omitempty"`

	secret string // resolved
}

// config returns the client in the form of the engine, with the secret resolved and
// the networks parsed.
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

// checkOrigins checks that origins are spelled as in an Origin header (RFC 6454
// §6.2), without a path: any other spelling would never match.
func checkOrigins(origins []string) error {
	for _, o := range origins {
		if u, err := url.Parse(o); err != nil || u.Scheme == "" || u.Host == "" || o != u.Scheme+"://"+u.Host {
			return fmt.Errorf("origin %q: want scheme, host and port only, such as https://app.example.com", o)
		}
	}
	return nil
}

// check validates the client without resolving placeholders: a configured secret
// counts as present.
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

// checkSoFar is check for an incomplete block: the secret that a guard needs may be
// on a later line.
func (c *Client) checkSoFar() error {
	part := *c
	if part.Secret == nil && part.Guard {
		part.Secret = new(string)
	}
	return part.check()
}

// checkLogo checks that browsers show a picture on the issuer's pages: it must have
// an https URL, or an http URL if the issuer itself has no TLS, because browsers
// block mixed content.
func checkLogo(what, logo, issuer string) error {
	shown := []string{"/", "https://", "data:image/"}
	if strings.HasPrefix(issuer, "http://") {
		shown = append(shown, "http://")
	}
	elsewhere := strings.HasPrefix(logo, "//") // another host, with the scheme of the page
	isShown := slices.ContainsFunc(shown, func(begin string) bool { return strings.HasPrefix(logo, begin) })
	if logo == "" || isShown && !elsewhere {
		return nil
	}
	return fmt.Errorf("%s %q: want an https address, or a path from the site's root", what, logo)
}
