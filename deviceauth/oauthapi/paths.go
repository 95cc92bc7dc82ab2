package oauthapi

import (
	"cmp"
	"fmt"
	"net/url"
	"strings"
	"unicode"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
)

// Paths are the paths of the endpoints. An empty path has its default, below the
// issuer's path; other paths are used as they are.
type Paths struct {
	Authorize           string `json:"authorize,omitempty"`            // /oauth2/authorize
	DeviceAuthorization string `json:"device_authorization,omitempty"` // /oauth2/device_authorization
	Token               string `json:"token,omitempty"`                // /oauth2/token
	Register            string `json:"register,omitempty"`             // /oauth2/register
	Revoke              string `json:"revoke,omitempty"`               // /oauth2/revoke
	Introspect          string `json:"introspect,omitempty"`           // /oauth2/introspect
	Userinfo            string `json:"userinfo,omitempty"`             // /oauth2/userinfo
	JWKS                string `json:"jwks,omitempty"`                 // /oauth2/jwks
	Device              string `json:"device,omitempty"`               // /device

	prefix string // the issuer's path
}

// each returns the paths with their names and defaults. The pointers point into p, so
// that [Paths.fill] can set the paths.
func (p *Paths) each() []pathOption {
	return []pathOption{
		{name: "authorize", is: &p.Authorize, def: "/oauth2/authorize"},
		{name: "device_authorization", is: &p.DeviceAuthorization, def: "/oauth2/device_authorization"},
		{name: "token", is: &p.Token, def: "/oauth2/token"},
		{name: "register", is: &p.Register, def: "/oauth2/register"},
		{name: "revoke", is: &p.Revoke, def: "/oauth2/revoke"},
		{name: "introspect", is: &p.Introspect, def: "/oauth2/introspect"},
		{name: "userinfo", is: &p.Userinfo, def: "/oauth2/userinfo"},
		{name: "jwks", is: &p.JWKS, def: "/oauth2/jwks"},
		{name: "device", is: &p.Device, def: "/device"},
	}
}

// A pathOption is one of the paths, with its name in the configuration and its
// default relative to the issuer.
type pathOption struct {
	name string
	is   *string
	def  string
}

// A PathError reports an invalid path.
type PathError struct {
	Name  string // of the path, as in the configuration
	Path  string
	Taken string // the name of the path that is equal; or
	Want  string // an example of a valid path
}

// Error implements error. The text is for the author of the configuration.
func (e *PathError) Error() string {
	if e.Taken != "" {
		return fmt.Sprintf("path %s %q: that is taken by %s", e.Name, e.Path, e.Taken)
	}
	return fmt.Sprintf("path %s %q: want something like %s", e.Name, e.Path, e.Want)
}

// Check checks the paths that are set. They must differ from each other, and must not
// be within the pages.
func (p Paths) Check() error {
	given := p
	p.fill("")
	taken := map[string]string{}
	for i, path := range p.each() {
		if set := *given.each()[i].is; set != "" && !isPlainPath(set) {
			return &PathError{Name: path.name, Path: set, Want: path.def}
		}
		if strings.Contains(*path.is+"/", "/.well-known/") {
			return &PathError{Name: path.name, Path: *path.is, Taken: "the metadata"}
		}
		other, double := taken[*path.is]
		among := path.name != "device" && strings.HasPrefix(*path.is, p.Device+"/")
		if double || among {
			return &PathError{Name: path.name, Path: *path.is, Taken: cmp.Or(other, "device")}
		}
		taken[*path.is] = path.name
	}
	return nil
}

// CheckFree returns an error if a path cannot be used for something else, such as a
// health check: it is malformed, or used by an endpoint, a page or a dialect in
// names. what is the name of the option with the path, for the error.
func CheckFree(what, path string, p Paths, names []string, issuer string) error {
	if !isPlainPath(path) {
		return fmt.Errorf("%s %q: want a path such as /health", what, path)
	}
	prefix := pathOf(issuer)
	p.fill(prefix)
	has := func(taken string) bool { return path == taken || path == taken+"/" }
	taken := strings.HasPrefix(path, p.Device+"/") || strings.HasPrefix(path, p.Register+"/") ||
		strings.Contains(path, "/.well-known/")
	for _, other := range p.each() {
		taken = taken || has(*other.is)
	}
	for _, name := range names {
		d := dialects[name]
		taken = taken || d.offers(prefix, path)
	}
	if taken {
		return fmt.Errorf("%s %q: that is taken by an endpoint or a page: want another path", what, path)
	}
	return nil
}

// isPlainPath reports whether a text is a path below the root in a plain spelling,
// which all servers between a device and the gateway interpret alike: a device that
// cannot reach an endpoint cannot log in.
func isPlainPath(path string) bool {
	hasControl := strings.ContainsFunc(path, unicode.IsControl)
	return strings.HasPrefix(path, "/") && strings.Trim(path, "/") != "" && !hasControl &&
		!strings.ContainsAny(path, `?#% \`) && !strings.Contains(path, "//") && !guard.HasDotSegment(path)
}

// pathOf returns the path of an issuer without a trailing slash, or "" if the issuer
// has none. All endpoints are below it, except the well-known ones of RFC 8414.
func pathOf(issuer string) string {
	u, err := url.Parse(issuer)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(u.Path, "/")
}

// Below returns the paths with the defaults set, below the path of an issuer.
func (p Paths) Below(issuer string) Paths {
	p.fill(pathOf(issuer))
	return p
}

// fill sets the defaults, and removes trailing slashes.
func (p *Paths) fill(prefix string) {
	p.prefix = prefix
	for _, path := range p.each() {
		if *path.is == "" {
			*path.is = prefix + path.def
		}
		*path.is = strings.TrimSuffix(*path.is, "/")
	}
}

// metadata returns the paths of the metadata: RFC 8414 §3.1 puts the issuer's path
// after the well-known part, OpenID Connect Discovery §4 before it, and clients try
// either for both.
func (p *Paths) metadata() []string {
	var all []string
	for _, name := range []string{"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"} {
		all = append(all, name+p.prefix, p.prefix+name)
	}
	return all
}
