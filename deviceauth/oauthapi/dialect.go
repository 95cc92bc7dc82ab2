package oauthapi

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/endpoint"
)

// A dialect is how another product, for which devices in the field were
// written, says what RFC 8628 and RFC 6749 say: at other paths, with other
// statuses, names and members. The engine behind it is the same, so a dialect
// adds no rule and takes none away. The zero dialect is the standard itself.
type dialect struct {
	paths dialectPaths

	status         map[string]int    // of refusals, by error code, where they are not RFC 6749's
	rename         map[string]string // error codes, and those [ofCode], that go by another name
	grants         map[string]string // other names of grant types
	deviceCodeName string            // another name of device_code in token requests
	commas         bool              // scopes may be separated by commas, too
	query          bool              // where the body is empty, the parameters are in the query
	nulls          bool              // ID tokens name what is not known, as null

	scoping func(e *deviceauth.Engine, client, asked string) (scope string, resource []string)
	members func(*vendorDialect, deviceauth.Credentials, *authorizationResponse) // adds to RFC 8628 §3.2
	more    map[string]func(*vendorDialect) endpoint.Route                       // by path: what no other product has
	finish  func(*http.Request, *endpoint.Response) *endpoint.Response           // has the last word on every answer
}

// dialectPaths are below the issuer's. What is empty is not offered. A first
// segment {tenant} stands for any.
type dialectPaths struct{ authorization, token, userinfo, revoke string }

// tenant begins the paths whose first segment may be anything.
const tenant = "/{tenant}/"

// ofCode marks in rename what is said of a device code alone.
const ofCode = " of a device_code"

// deviceCodeError marks the refusals of a device code.
type deviceCodeError struct{ error }

func (a deviceCodeError) Unwrap() error { return a.error }

// Dialects lists the names that [Config.Dialects] takes.
func Dialects() []string { return slices.Sorted(maps.Keys(dialects)) }

// CheckDialects says what is wrong with a list of dialects beside the paths of
// the standard endpoints, of an issuer.
func CheckDialects(names []string, p Paths, issuer string) error {
	prefix := pathOf(issuer)
	p.fill(prefix)
	taken := map[string]bool{}
	for _, path := range p.each() {
		taken[*path.is] = true
	}
	for i, name := range names {
		d, known := dialects[name]
		if !known {
			return fmt.Errorf("dialect %q: want one of: %s", name, strings.Join(Dialects(), ", "))
		}
		if slices.Contains(names[:i], name) {
			return fmt.Errorf("duplicate dialect %s", name)
		}
		for path := range taken {
			if d.offers(prefix, path) {
				return fmt.Errorf("dialect %s needs the path %s, which is an endpoint's already: "+
					"want another path for that", name, path)
			}
		}
	}
	return nil
}

// offers reports whether a path below the issuer's path prefix is the dialect's.
func (d *dialect) offers(prefix, path string) bool {
	path, below := strings.CutPrefix(path, prefix)
	if !below {
		return false
	}
	if anyone, ok := anyTenant(path); ok && d.has(anyone) {
		return true
	}
	return d.has(path)
}

// has reports whether the dialect has an endpoint at a path as it is written in
// [dialects], with {tenant} in the place of a segment that may be anything.
func (d *dialect) has(path string) bool {
	p := d.paths
	return slices.Contains([]string{p.authorization, p.token, p.userinfo, p.revoke}, path) || d.more[path] != nil
}

// anyTenant puts {tenant} for the first segment of a path.
func anyTenant(path string) (string, bool) {
	path, below := strings.CutPrefix(path, "/")
	first, rest, ok := strings.Cut(path, "/")
	return tenant + rest, below && ok && first != ""
}

// A vendorDialect answers devices in one dialect.
type vendorDialect struct {
	*Handler
	dialect
}

// routes are the endpoints that a dialect offers, by their paths below the issuer's. An
// endpoint without a path is one that the product does not have.
func (s *vendorDialect) routes() map[string]endpoint.Route {
	p := s.dialect.paths
	all := map[string]endpoint.Route{}
	for path, do := range map[string]endpoint.Func{
		p.authorization: s.deviceAuthorization, p.token: s.token, p.revoke: s.revoke,
	} {
		all[path] = s.post(do)
	}
	all[p.userinfo] = endpoint.Route{
		Methods: map[string]endpoint.Func{http.MethodGet: s.userinfo, http.MethodPost: s.userinfo},
		CORS:    endpoint.ClientOrigins, Fail: s.bearerError,
	}
	for path, make := range s.more {
		all[path] = make(s)
	}
	delete(all, "")
	return all
}

// post is an endpoint for devices.
func (s *vendorDialect) post(do endpoint.Func) endpoint.Route {
	finished := func(r *http.Request) (*endpoint.Response, error) {
		a, err := do(r)
		if err != nil {
			return nil, err
		}
		return s.finished(r, a), nil
	}
	fail := func(r *http.Request, err error) *endpoint.Response { return s.finished(r, s.oauthError(r, err)) }
	methods := map[string]endpoint.Func{http.MethodPost: finished}
	return endpoint.Route{Methods: methods, CORS: endpoint.ClientOrigins, Fail: fail}
}

// open is an endpoint whose document is public: pages of any origin may read it, since
// no credentials are looked at (Fetch Standard §3.2.5).
func (s *vendorDialect) open(do endpoint.Func) endpoint.Route {
	methods := map[string]endpoint.Func{http.MethodGet: do}
	return endpoint.Route{Methods: methods, CORS: endpoint.AnyOrigin, Fail: s.oauthError}
}

// finished has the dialect change a response that is complete otherwise.
func (s *vendorDialect) finished(r *http.Request, a *endpoint.Response) *endpoint.Response {
	if s.finish == nil {
		return a
	}
	return s.finish(r, a)
}

// scope reads a scope parameter, and the resources that it names in a dialect
// where scopes do.
func (s *vendorDialect) scope(p params, client string) (scope string, resource []string) {
	scope = p.get("scope")
	if s.commas {
		scope = strings.ReplaceAll(scope, ",", " ")
	}
	if s.scoping != nil {
		return s.scoping(s.cfg.Engine, client, scope)
	}
	return scope, nil
}

// grantType reads grant_type; a name that only the dialect has becomes the standard's.
func (s *vendorDialect) grantType(p params) string {
	if standard, ok := s.grants[p.get("grant_type")]; ok {
		return standard
	}
	return p.get("grant_type")
}

// deviceCode reads device_code (RFC 8628 §3.4), or the dialect's own parameter for it.
func (s *vendorDialect) deviceCode(p params) string {
	if code := p.get("device_code"); code != "" || s.deviceCodeName == "" {
		return code
	}
	return p.get(s.deviceCodeName)
}
