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

// A dialect describes how another product, for which devices in the field were
// written, implements RFC 8628 and RFC 6749: with other paths, statuses, names and
// members. The engine is the same for all dialects, so a dialect neither adds rules
// nor removes any. The zero dialect is the standard itself.
type dialect struct {
	paths dialectPaths

	status         map[string]int    // by error code, of refusals with another status than RFC 6749's
	rename         map[string]string // by error code, with or without [ofCode]: the product's name of the error
	grants         map[string]string // by the product's name: the standard grant type
	deviceCodeName string            // another name of device_code in token requests
	commas         bool              // scopes may be separated by commas, too
	query          bool              // if the body is empty, the parameters are in the query
	nulls          bool              // ID tokens contain unknown claims as null

	scoping func(e *deviceauth.Engine, client, asked string) (scope string, resource []string)
	members func(*vendorDialect, deviceauth.Credentials, *authorizationResponse) // adds to RFC 8628 §3.2
	more    map[string]func(*vendorDialect) endpoint.Route                       // further endpoints, by path
	finish  func(*http.Request, *endpoint.Response) *endpoint.Response           // modifies every response
}

// dialectPaths are relative to the issuer. An endpoint with an empty path is not
// offered. A first segment {tenant} matches any segment.
type dialectPaths struct{ authorization, token, userinfo, revoke string }

// tenant is the prefix of paths whose first segment may be anything.
const tenant = "/{tenant}/"

// ofCode is the suffix of keys in rename that apply only to errors about a device
// code.
const ofCode = " of a device_code"

// deviceCodeError marks an error about a device code.
type deviceCodeError struct{ error }

func (a deviceCodeError) Unwrap() error { return a.error }

// Dialects lists the names that [Config.Dialects] takes.
func Dialects() []string { return slices.Sorted(maps.Keys(dialects)) }

// CheckDialects checks a list of dialects: the names are known and unique, and no
// path is that of one of the issuer's standard endpoints.
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

// offers reports whether the dialect has an endpoint at a path below the issuer's
// path prefix.
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

// has reports whether the dialect has an endpoint at a path, which is written as in
// [dialects], with {tenant} for a segment that may be anything.
func (d *dialect) has(path string) bool {
	p := d.paths
	return slices.Contains([]string{p.authorization, p.token, p.userinfo, p.revoke}, path) || d.more[path] != nil
}

// anyTenant replaces the first segment of a path by {tenant}.
func anyTenant(path string) (string, bool) {
	path, below := strings.CutPrefix(path, "/")
	first, rest, ok := strings.Cut(path, "/")
	return tenant + rest, below && ok && first != ""
}

// A vendorDialect serves devices in one dialect.
type vendorDialect struct {
	*Handler
	dialect
}

// routes returns the endpoints of the dialect by path, relative to the issuer. An
// endpoint with an empty path is one that the product does not have.
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

// post returns the route of an endpoint for devices.
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

// open returns the route of a public document: pages of any origin may read it,
// because the response does not depend on credentials (Fetch Standard §3.2.5).
func (s *vendorDialect) open(do endpoint.Func) endpoint.Route {
	methods := map[string]endpoint.Func{http.MethodGet: do}
	return endpoint.Route{Methods: methods, CORS: endpoint.AnyOrigin, Fail: s.oauthError}
}

// finished lets the dialect modify a complete response.
func (s *vendorDialect) finished(r *http.Request, a *endpoint.Response) *endpoint.Response {
	if s.finish == nil {
		return a
	}
	return s.finish(r, a)
}

// scope returns the scope parameter, and the resources that it names if the dialect's
// scopes do.
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

// grantType returns grant_type, with a name of the dialect replaced by the standard
// one.
func (s *vendorDialect) grantType(p params) string {
	if standard, ok := s.grants[p.get("grant_type")]; ok {
		return standard
	}
	return p.get("grant_type")
}

// deviceCode returns device_code (RFC 8628 §3.4), or the dialect's own parameter for
// it.
func (s *vendorDialect) deviceCode(p params) string {
	if code := p.get("device_code"); code != "" || s.deviceCodeName == "" {
		return code
	}
	return p.get(s.deviceCodeName)
}
