// Package deviceclient implements an OAuth client for devices: it finds the
// authorization server of an API, requests a code, waits for a person and obtains the
// tokens, which it can store in a [Folder] between runs. It is used by the command
// `caddy device-login` and works with any server of RFC 8628. It makes no decisions
// about who may have a token.
package deviceclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// A Server is the metadata of an authorization server (RFC 8414 §2).
type Server struct {
	Issuer              string `json:"issuer"`
	Authorization       string `json:"authorization_endpoint"` // may be empty
	DeviceAuthorization string `json:"device_authorization_endpoint"`
	Token               string `json:"token_endpoint"`
	Revocation          string `json:"revocation_endpoint"` // may be empty

	// For a login in the browser (RFC 8414 §2, RFC 9207 §3).
	ChallengeMethods []string `json:"code_challenge_methods_supported"`
	NamesItself      bool     `json:"authorization_response_iss_parameter_supported"`

	API      string `json:"-"` // the origin of the API from which the server was found
	Resource string `json:"-"` // the API's resource (RFC 9728 §2), for which tokens are requested; may be empty
	// Why the API's site has no metadata for the URL: the server issues no tokens for it.
	// Usually empty.
	NoResource string `json:"-"`
}

// maxMetadata is far above the size of any metadata document.
const maxMetadata = 256 << 10

// Discover finds the server that guards an API, from the API's own URL (RFC 9728) or
// the server's (RFC 8414). A nil client is http.DefaultClient. Redirects are followed
// only within an origin. The error lists all URLs that were tried, and has no control
// characters.
func Discover(ctx context.Context, c *http.Client, address string) (found Server, err error) {
	defer sanitize(&err)
	api, err := url.Parse(address)
	usable := err == nil && (api.Scheme == "http" || api.Scheme == "https") && api.Host != ""
	switch {
	case strings.Contains(address, "@") && (!usable || api.User != nil): // the error may be shown to others
		return Server{}, errors.New("the URL has a user or a password in it: leave them out")
	case !usable:
		return Server{}, fmt.Errorf("%q: want the URL of an API or of its gateway, such as https://api.example.com",
			address)
	}
	c = discovering(c)
	protected, err := findResource(ctx, c, api)
	if err != nil {
		protected.Servers = []string{strings.TrimSuffix(api.Scheme+"://"+api.Host+api.Path, "/")}
	}
	server, serverErr := describe(ctx, c, protected.Servers[0])
	if serverErr != nil {
		return Server{}, errors.Join(fmt.Errorf("no authorization server found for %s", address), err, serverErr)
	}
	server.API, server.Resource, server.NoResource = origin(api), protected.Resource, protected.none
	return server, nil
}

// DiscoverOf is Discover for a caller that trusts an issuer with all APIs that name
// it: an API that names another issuer is an error, and a [Folder] stores one token
// for all of these APIs.
func DiscoverOf(ctx context.Context, c *http.Client, issuer, address string) (found Server, err error) {
	defer sanitize(&err)
	found, err = Discover(ctx, c, address)
	switch {
	case err != nil:
		return found, err
	case strings.TrimSuffix(found.Issuer, "/") != strings.TrimSuffix(issuer, "/"):
		return Server{}, fmt.Errorf("%s names the issuer %q, and not %q", address, found.Issuer, issuer)
	}
	found.API, found.Resource = "", "" // a token for all of them has no resource
	return found, nil
}

// describe fetches the metadata of an issuer, which must be about that issuer (RFC
// 8414 §3.3), and have endpoints to which a secret may be sent. Three URLs are in
// use: RFC 8414 §3.1 inserts the well-known name before the path, for both names, and
// OpenID Connect Discovery §4 appends it. The first document is used, even if it is
// then refused.
func describe(ctx context.Context, c *http.Client, issuer string) (s Server, err error) {
	u, err := url.Parse(issuer)
	if err != nil {
		return s, err
	}
	path, origin := strings.TrimSuffix(u.Path, "/"), u.Scheme+"://"+u.Host
	var errs []error
	for _, address := range unique(
		origin+"/.well-known/oauth-authorization-server"+path,
		origin+"/.well-known/openid-configuration"+path,
		origin+path+"/.well-known/openid-configuration",
	) {
		s = Server{}
		if err := fetch(ctx, c, address, &s); err != nil {
			errs = append(errs, err)
			continue
		}
		return s, s.check(issuer)
	}
	return s, errors.Join(errs...)
}

// check refuses metadata of another issuer, or with unusable endpoints. The issuer
// must be equal except for a trailing slash; otherwise the server could pretend to be
// another one. Endpoints may be on other hosts, but not on this machine if the issuer
// is on the network.
func (s Server) check(issuer string) error {
	from, err := url.Parse(issuer)
	if err != nil {
		return err
	}
	if strings.TrimSuffix(s.Issuer, "/") != strings.TrimSuffix(issuer, "/") {
		return fmt.Errorf("the metadata of %s says that it is %q", issuer, s.Issuer)
	}
	for name, endpoint := range map[string]string{
		"device_authorization_endpoint": s.DeviceAuthorization, "token_endpoint": s.Token,
		"revocation_endpoint": s.Revocation, "authorization_endpoint": s.Authorization,
	} {
		u, err := url.Parse(endpoint)
		switch {
		case endpoint == "" && (name == "revocation_endpoint" || name == "authorization_endpoint"):
		case endpoint == "":
			return fmt.Errorf("%s has no %s: it does not offer the device flow", issuer, name)
		case err != nil || !MayLead(from, u):
			return fmt.Errorf("%s: %s %q is not https, or is on this machine and the server is not", issuer,
				name, endpoint)
		}
	}
	return nil
}

// fetch fetches a JSON document. It reads at most maxMetadata bytes, so that a longer
// document is not valid JSON.
func fetch(ctx context.Context, c *http.Client, address string, v any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", "application/json")
	answer, err := c.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return &statusError{address: address, status: text.Plain(answer.Status), why: description(answer.Body)}
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxMetadata)).Decode(v); err != nil {
		return fmt.Errorf("%s: %w", address, err)
	}
	return nil
}

// A statusError is an answer that is not the document which was asked for.
type statusError struct {
	address, status string
	why             string // the error_description of an invalid_target (RFC 8707 §2); empty: another answer
}

func (e *statusError) Error() string { return e.address + ": " + e.status }

// description returns the reason that a guard of this project gives if its site has no
// metadata for a URL.
func description(body io.Reader) string {
	var refusal struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	err := json.NewDecoder(io.LimitReader(body, maxMetadata)).Decode(&refusal)
	if err != nil || refusal.Error != "invalid_target" {
		return ""
	}
	return text.Plain(refusal.Description)
}

// unique removes repeated strings and keeps the order. An issuer without a path has
// the same URL twice.
func unique(list ...string) (once []string) {
	seen := map[string]bool{}
	for _, s := range list {
		if !seen[s] {
			seen[s] = true
			once = append(once, s)
		}
	}
	return once
}
