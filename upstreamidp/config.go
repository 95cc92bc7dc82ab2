// Package upstreamidp signs people in at an OpenID Connect provider, the upstream,
// and returns their identity. Package deviceauth decides what they may do; package
// pages redirects their browsers to the provider and back.
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

// Config is the configuration of a provider, and of the gateway's client there.
type Config struct {
	ID            string            // short name; prefix of subjects
	Issuer        string            // the provider's issuer URL
	Name          string            // label of the sign-in button; default: the id
	ClientID      string            // of the gateway at the provider
	ClientSecret  deviceauth.Secret // empty: a public client
	Scopes        []string          // default: openid profile email; openid is always requested
	UserClaim     string            // becomes Person.User; default: sub. To be set in [deviceauth.Config], too
	RuleClaims    []string          // claims that rules need; they are requested before a rule is applied to a person
	BackendClaims []string          // further claims that are passed to backends
	Authorize     []Parameter       // further parameters of the authorization request
	Fresh         bool              // a client requires a fresh sign-in; for hints in the log
	Log           *slog.Logger      // for hints to the operator; default: discarded
	HTTPClient    *http.Client      // default: one with a timeout of 10 s; responses are limited to 1 MiB in any case

	// Observe is called for each request to the provider, with one of [Operations],
	// the duration until the response began, and whether it failed. Default: none.
	Observe func(operation string, took time.Duration, failed bool)

	// Revalidate stores the provider's refresh token of each person in Documents,
	// encrypted with Key, and uses it to request the person's current claims.
	Revalidate bool
	Documents  deviceauth.Documents
	Key        func() [32]byte // returns the current key; required with Revalidate, and never all zeros
}

var validID = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]*$`)

// Check validates the configuration without a request.
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

// checkIssuer checks an issuer URL (OpenID Connect Discovery §3). http is accepted
// for a loopback host, for development.
func checkIssuer(issuer string) error {
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return fmt.Errorf("issuer %q: want an URL such as https://login.example.com, without query and fragment",
			issuer)
	}
	if !isProtected(u) {
		return fmt.Errorf("issuer %q: want https, or http on a loopback host", issuer)
	}
	return checkTenant(u)
}

// isProtected reports whether requests to a URL are protected in transit: by TLS, or
// because they do not leave this machine.
func isProtected(u *url.URL) bool {
	return u.Scheme == "https" || u.Scheme == "http" && discovery.IsLoopback(u.Hostname())
}

// google is the issuer that issues refresh tokens with its own parameter
// access_type=offline, and refuses the scope offline_access. Other providers are
// handled by their metadata alone.
const google = "https://accounts.google.com"

// fill sets the defaults. It is called after Check on New's own copy, and does not
// modify slices of the caller.
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
	c.HTTPClient = boundedClient(c.HTTPClient, u.Scheme == "http")
	if c.Observe != nil {
		c.HTTPClient.Transport = observed{RoundTripper: c.HTTPClient.Transport, tell: c.Observe}
	}
}
