// Package upstreamidp vouches: it signs people in at an OpenID Connect
// provider, the upstream, and says who they are. What they may do is decided
// in package deviceauth; package pages takes their browsers there and back.
package upstreamidp

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/discovery"
)

// Config says which provider, and who we are to it.
type Config struct {
	ID            string            // short name; prefixes subjects
	Issuer        string            // the provider's issuer URL
	Name          string            // label of the sign-in button; default: the id
	ClientID      string            // ours at the provider
	ClientSecret  deviceauth.Secret // empty: a public client
	Scopes        []string          // default: openid profile email; openid is always asked for
	UserClaim     string            // the claim that becomes Person.User; default: sub. Tell [deviceauth.Config] of it
	RuleClaims    []string          // claims that rules decide by: no person is judged before they were asked for
	BackendClaims []string          // further claims that backends are told of
	Authorize     []Parameter       // further parameters of the authorization request
	Fresh         bool              // some client asks for a fresh sign-in; for advice in the log
	Log           *slog.Logger      // hears what an operator should know; default: discarded
	HTTPClient    *http.Client      // default: one that waits 10 s; whichever it is, it reads at most 1 MiB

	// Observe hears of each request to the provider: one of [Operations], how long it
	// took until the answer began, and whether it failed. Default: none.
	Observe func(operation string, took time.Duration, failed bool)

	// Revalidate keeps the provider's refresh token of each person in the
	// vault, sealed with the key, and asks with it who they are now.
	Revalidate bool
	Documents  deviceauth.Documents
	Key        func() [32]byte // as it is now; required with Revalidate, and never all zeros
}

var validID = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]*$`)

// Check says what is wrong with a configuration, without a request.
func (c Config) Check() error {
	switch {
	case !validID.MatchString(c.ID):
		return fmt.Errorf("upstream id %q: want lower-case letters, digits, - and _, beginning with a letter or digit",
			c.ID)
	case c.ClientID == "":
		return fmt.Errorf("upstream %s: client_id is missing: want the one that the provider knows this gateway by",
			c.ID)
	case slices.Contains(protocolClaims, c.UserClaim):
		return fmt.Errorf("upstream %s: user claim %q: want one that is about a person, such as email or "+
			"preferred_username", c.ID, c.UserClaim)
	}
	if err := checkIssuer(c.Issuer); err != nil {
		return fmt.Errorf("upstream %s: %w", c.ID, err)
	}
	if err := checkParameters(c.Authorize); err != nil {
		return fmt.Errorf("upstream %s: %w", c.ID, err)
	}
	return nil
}

// checkIssuer wants what OpenID Connect Discovery §3 says of an issuer, with
// http on the own machine for development.
func checkIssuer(issuer string) error {
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return fmt.Errorf("issuer %q: want an URL such as https://login.example.com, without query and fragment",
			issuer)
	}
	if !private(u) {
		return fmt.Errorf("issuer %q: want https, or http on a loopback host", issuer)
	}
	return checkTenant(u)
}

// private reports whether what is sent is protected on the way: by TLS, or because
// it does not leave this machine.
func private(u *url.URL) bool {
	return u.Scheme == "https" || u.Scheme == "http" && discovery.IsLoopback(u.Hostname())
}

// google gives refresh tokens for a parameter of its own, access_type=offline,
// and refuses the scope offline_access. Other providers are treated by their
// metadata alone.
const google = "https://accounts.google.com"

// fill is called after Check, on New's own copy; slices of the caller are never
// written to.
func (c *Config) fill() {
	if c.Name == "" {
		c.Name = c.ID
	}
	if len(c.Scopes) == 0 {
		c.Scopes = []string{"openid", "profile", "email"}
	}
	if !slices.Contains(c.Scopes, "openid") {
		c.Scopes = append([]string{"openid"}, c.Scopes...)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	named := slices.ContainsFunc(c.Authorize, func(a Parameter) bool { return a.Name == "access_type" })
	if c.Revalidate && c.Issuer == google && !named {
		c.Authorize = append(slices.Clone(c.Authorize), Parameter{Name: "access_type", Value: "offline"})
	}
	u, _ := url.Parse(c.Issuer) // checked
	c.HTTPClient = careful(c.HTTPClient, u.Scheme == "http")
	if c.Observe != nil {
		c.HTTPClient.Transport = observed{RoundTripper: c.HTTPClient.Transport, tell: c.Observe}
	}
}
