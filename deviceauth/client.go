package deviceauth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// A Client is a kind of device that may ask for grants (RFC 6749 §2).
type Client struct {
	ID     string
	Name   string // shown on the consent page; default: the ID
	Vendor string // the manufacturer; may be empty
	Logo   string // URL of a picture; may be empty

	Public bool   // it has no secret; must be set, since an empty Secret alone is an error
	Secret Secret // of a confidential client

	Scope Scope // the scopes that it may request, and the default scope
	// redirect URIs of the authorization code flow (RFC 6749 §3.1.2); none: it uses
	// the device flow alone
	Redirects   []string
	BrowserOnly bool           // it may not ask for device codes
	Introduced  bool           // it registered itself or has a metadata document, and is not in the configuration
	Checked     bool           // the operator vouches for a client that introduced itself
	Host        string         // of a client that introduced itself; empty: it named no host
	Origins     []string       // origins of browser pages that may act as the client
	From        []netip.Prefix // networks of addresses that it may use; none: any address
	// the algorithm of its ID tokens: RS256 for a client that accepts no other;
	// empty: the signer's
	IDToken        string
	ResourceServer bool // a guard in another process: introspection also tells it the person

	// Against phishing, in which a person is tricked into entering an attacker's
	// code. docs/phishing.md explains what each setting prevents.
	Allow       []Allow       // who may approve it, among those whom their upstream permits; none: all of these
	Network     Network       // default: the engine's
	Code        time.Duration // lifetime of its codes; default: the engine's
	ManualEntry bool          // its codes must be typed: verification_uri_complete does not contain them
	FreshSignIn bool          // the person must have signed in anew to approve this grant

	secret   Digest         // of a confidential client that introduced itself
	metadata ClientMetadata // its own metadata
	used     time.Time      // when a person last approved it, according to the store
}

func (c *Client) check() error {
	switch {
	case c.ID == "":
		return errors.New("a client has no id")
	case !text.IsPrintable(c.ID):
		return fmt.Errorf("client %q: an id is printable ASCII (RFC 6749 §A.1)", c.ID)
	case !c.Public && c.Secret == "":
		return fmt.Errorf("client %q: its secret is empty; want a secret, or none at all for a public client", c.ID)
	case c.ResourceServer && len(c.Redirects) > 0:
		return fmt.Errorf("client %q: a guard has no redirect", c.ID)
	case c.ResourceServer && c.Public:
		return fmt.Errorf("client %q: a guard has a secret", c.ID)
	case c.Public && c.Secret != "":
		return fmt.Errorf("client %q: a public client has no secret", c.ID)
	}
	for _, uri := range c.Redirects {
		if err := checkRedirect(uri); err != nil {
			return fmt.Errorf("client %q: %w", c.ID, err)
		}
	}
	if c.IDToken != "" && c.IDToken != "RS256" {
		return fmt.Errorf("client %q: id_token %q: want RS256, or nothing for the algorithm of all tokens",
			c.ID, c.IDToken)
	}
	if err := c.Network.check(); err != nil && c.Network != "" {
		return fmt.Errorf("client %q: %w", c.ID, err)
	}
	if c.Code != 0 && (c.Code < time.Second || c.Code > day) {
		return fmt.Errorf("client %q: lifetime device_code %v: want %v to %v", c.ID, c.Code, time.Second, day)
	}
	_, err := ParseScope(string(c.Scope))
	return err
}

// allowsAddress reports whether the client may send requests from an address.
func (c *Client) allowsAddress(addr netip.Addr) bool {
	return len(c.From) == 0 || slices.ContainsFunc(c.From, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// An AuthMethod is a way of client authentication (RFC 6749 §2.3, OpenID
// Connect Core §9).
type AuthMethod uint8

// The methods of client authentication. Basic with an empty secret is a public client
// that sends its client_id in this way.
const (
	AuthNone AuthMethod = iota
	AuthBasic
	AuthPost
)

// Credentials are the client authentication of one request.
type Credentials struct {
	ClientID string
	Secret   Secret
	// the secret as it is in the Basic header, if form-decoding changes it; empty: it
	// does not
	Written Secret
	Method  AuthMethod
}

// authenticate returns the client of a request. It refuses an unknown client and a
// wrong secret with the same error and in the same time.
func (e *Engine) authenticate(ctx context.Context, c Credentials) (*Client, error) {
	if c.ClientID == "" {
		return nil, NewError("invalid_client", "client_id is missing")
	}
	client, err := e.loadClient(ctx, c.ClientID)
	if err != nil {
		return nil, err
	}
	known := client != nil
	if !known {
		client = &Client{Secret: "no client has this secret"}
	}
	if client.Public { // it has no secret that the timing of a comparison could reveal
		if c.Secret != "" {
			return nil, c.refusal()
		}
		return client, nil
	}
	same, written := client.hasSecret(c.Secret), client.hasSecret(c.Written)
	if !known || !same && !written {
		return nil, c.refusal()
	}
	return client, nil
}

// refusal returns the error for wrong credentials, with a hint if they have an
// obvious mistake.
func (c Credentials) refusal() error {
	for what, text := range map[string]string{"client_id": c.ClientID, "secret": c.Secret.Reveal()} {
		if strings.HasSuffix(text, "\n") || strings.HasSuffix(text, "\r") {
			return NewError("invalid_client",
				"unknown client, or its secret is missing or wrong: the "+what+" that was sent ends in a line break")
		}
	}
	return NewError("invalid_client", "unknown client, or its secret is missing or wrong")
}

// hasSecret reports whether a secret is the client's.
func (c *Client) hasSecret(secret Secret) bool {
	if c.secret != (Digest{}) {
		return c.secret.equal(digest([]byte(secret)))
	}
	return sameSecret(secret, c.Secret)
}

// sameSecret compares digests, so that its timing does not even reveal the length.
func sameSecret(a, b Secret) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
