package deviceclient

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/internal/discovery"
)

// A resource is the metadata of an API (RFC 9728 §2).
type resource struct {
	Resource string   `json:"resource"`
	Servers  []string `json:"authorization_servers"`

	none string // why there is no metadata, where only the realm names a server
}

// findResource returns the metadata of an API, with its resource and its
// authorization server. The challenge has the URL of the metadata (RFC 9728 §5.1),
// which is the same for everything that one token is valid for. Otherwise the
// well-known URLs are tried (§3.1), first with the path inserted after the well-known
// part, and then without. If there are none, the realm of the challenge may name the
// server, as with guards of this project; if not, the caller treats the API as its
// own server.
func findResource(ctx context.Context, c *http.Client, api *url.URL) (found resource, err error) {
	const wellKnown = "/.well-known/oauth-protected-resource"
	challenge := fetchChallenge(ctx, c, api)
	addresses := []string{origin(api) + wellKnown + strings.TrimSuffix(api.EscapedPath(), "/"), origin(api) + wellKnown}
	if at, err := url.Parse(challenge.metadata); err == nil && origin(at) == origin(api) {
		addresses = append([]string{challenge.metadata}, addresses...)
	}
	var errs []error
	for _, address := range unique(addresses...) {
		var r resource
		err := fetch(ctx, c, address, &r)
		if err == nil {
			err = r.check(address, api)
		}
		if err == nil {
			return r, nil
		}
		errs = append(errs, err)
	}
	if issuer, ok := challenge.issuer(api); ok {
		found.Servers = []string{issuer}
		if refused, ok := errors.AsType[*statusError](errs[0]); ok {
			found.none = refused.why
		}
		return found, nil
	}
	return resource{}, errors.Join(errs...)
}

// check refuses metadata of anything but the API, or a part of its site that contains
// the API (RFC 9728 §3.3): they may have been copied from a site with another server.
// Only the first server of the list is used, so only that is checked.
func (r resource) check(address string, api *url.URL) error {
	about, err := url.Parse(r.Resource)
	switch {
	case err != nil || origin(about) != origin(api) || !within(about.Path, api.Path):
		return fmt.Errorf("%s is about the resource %q; want %q, or a path above it", address, r.Resource,
			origin(api)+api.Path)
	case len(r.Servers) == 0:
		return fmt.Errorf("%s names no authorization server", address)
	}
	if err := discovery.CheckIssuer(r.Servers[0]); err != nil {
		return fmt.Errorf("%s: authorization server: %w", address, err)
	}
	if to, err := url.Parse(r.Servers[0]); err != nil || !MayLead(api, to) {
		return fmt.Errorf("%s: authorization server: %q is on this machine, and the API is not", address, r.Servers[0])
	}
	return nil
}

// within compares whole segments: /v2 is within / and /v2, but not within /v.
func within(above, path string) bool {
	return strings.HasPrefix(path+"/", strings.TrimSuffix(above, "/")+"/")
}

// warning returns what a person should know before they approve an API whose server
// has another origin. Any API can name any server, and only the person can tell
// whether they belong together.
func (s Server) warning() string {
	api, issuer := s.origins()
	if api == issuer {
		return ""
	}
	return fmt.Sprintf("The API at %[1]s names the server %[2]s. If you allow this, %[1]s is given a token that is "+
		"good wherever tokens of %[2]s are: allow it only if you trust the API with that.", api, issuer)
}

// secretWarning returns a warning for the case that the client's secret is sent to a
// server that an API named: the person is asked too late to prevent it.
func (s Server) secretWarning() string {
	api, issuer := s.origins()
	if api == issuer {
		return ""
	}
	return fmt.Sprintf("The API at %s names the server %s: the client's secret is sent there.", api, issuer)
}

// origins returns the origins of the API and of the server, or "" if no API named the
// server.
func (s Server) origins() (api, issuer string) {
	from, err := url.Parse(s.API)
	to, issuerErr := url.Parse(s.Issuer)
	if s.API == "" || err != nil || issuerErr != nil {
		return "", ""
	}
	return origin(from), origin(to)
}
