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
	Name   string // what the consent page calls it; default: the ID
	Vendor string // who makes it; may be empty
	Logo   string // address of a picture; may be empty

	Public bool   // has no secret, and says so: an empty Secret alone is a mistake
	Secret Secret // of a confidential client

	Scope Scope // all it may ask for, and what it gets when it asks for nothing
	// redirect URIs of logins in the browser (RFC 6749 §3.1.2); none: it is a device alone
	Redirects   []string
	BrowserOnly bool           // it may not ask for device codes
	Introduced  bool           // it registered, or has a metadata document: it is not of the configuration
	Checked     bool           // the operator vouches for a client that introduced itself
	Host        string         // where a client that introduced itself is from; empty: it named no host
	Origins     []string       // origins of browser pages that may play this device
	From        []netip.Prefix // networks it may ask from; none: from anywhere
	// the algorithm of its ID tokens: RS256, for clients that take no other; empty: the signer's
	IDToken        string
	ResourceServer bool // no device: a guard elsewhere, which introspection tells who stands behind a token

	// Against phishing: codes that a person was talked into typing. docs/phishing.md
	// says what each stops.
	Allow       []Allow       // who may approve it, of those whom their upstream lets; none: all of them
	Network     Network       // default: the engine's
	Code        time.Duration // how long its codes live; default: the engine's
	ManualEntry bool          // its codes have to be typed: a link brings none along
	FreshSignIn bool          // the person who approves it must have signed in anew, for this

	secret   Digest         // of a confidential client that introduced itself
	metadata ClientMetadata // what it said of itself
	used     time.Time      // when a person allowed it, as the store said
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

// reaches reports whether the client may ask from an address.
func (c *Client) reaches(addr netip.Addr) bool {
	return len(c.From) == 0 || slices.ContainsFunc(c.From, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// An AuthMethod is a way of client authentication (RFC 6749 §2.3, OpenID
// Connect Core §9).
type AuthMethod uint8

// The ways of client authentication. Basic with an empty secret is a public
// client that puts its client_id where it was used to.
const (
	AuthNone AuthMethod = iota
	AuthBasic
	AuthPost
)

// Credentials are how a client named and proved itself in one request.
type Credentials struct {
	ClientID string
	Secret   Secret
	// the secret as Basic has it, where that is another text than the form-decoded one; empty: there is none
	Written Secret
	Method  AuthMethod
}

// authenticate finds the client, or refuses in one way and in one time
// whether the client or its secret is the wrong one.
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
	if client.Public { // it has no secret whose comparison could tell anything by its time
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

// refusal says what is wrong as far as what was sent tells.
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

// sameSecret compares digests, so that the time tells not even the length.
func sameSecret(a, b Secret) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
