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

// A resource is what an API says of itself (RFC 9728 §2).
type resource struct {
	Resource string   `json:"resource"`
	Servers  []string `json:"authorization_servers"`

	none string // why there is no metadata, where only the realm names a server
}

// findResource asks an API who guards it, and what it calls itself. The
// challenge says where that stands (RFC 9728 §5.1), the same for all that one
// token is good for; else it is looked for (§3.1), with the path inserted
// behind the well-known part first, and then left away. An API without
// metadata is taken for its own server by the caller, unless the realm of its
// challenge names one, as guards of this project do.
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

// check refuses metadata of anything but the API, or a part of its site that
// the API lies in, as RFC 9728 §3.3 wants it: they may have been copied from
// where another server guards. Only the first server of the list is used, so
// only that one is checked.
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

// within compares whole segments: /v2 is within / and /v2, and not within /v.
func within(above, path string) bool {
	return strings.HasPrefix(path+"/", strings.TrimSuffix(above, "/")+"/")
}

// warning is what a person has to know before they say yes for an API that
// names a server of another origin. Any API can name any server, and the person is
// the only one who can tell whether they belong together.
func (s Server) warning() string {
	api, issuer := s.origins()
	if api == issuer {
		return ""
	}
	return fmt.Sprintf("The API at %[1]s names the server %[2]s. If you allow this, %[1]s is given a token that is "+
		"good wherever tokens of %[2]s are: allow it only if you trust the API with that.", api, issuer)
}

// secretWarning is what to know before the secret of a client goes to a server
// that an API named: a person is asked too late for that.
func (s Server) secretWarning() string {
	api, issuer := s.origins()
	if api == issuer {
		return ""
	}
	return fmt.Sprintf("The API at %s names the server %s: the client's secret is sent there.", api, issuer)
}

// origins are the origins of the API and of the server, or empty where no API
// named the server.
func (s Server) origins() (api, issuer string) {
	from, err := url.Parse(s.API)
	to, issuerErr := url.Parse(s.Issuer)
	if s.API == "" || err != nil || issuerErr != nil {
		return "", ""
	}
	return origin(from), origin(to)
}
