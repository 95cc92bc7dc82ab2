package oauthapi

import (
	"cmp"
	"fmt"
	"net/url"
	"strings"
	"unicode"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
)

// Paths are where things are. Empty ones have their defaults below the
// issuer's path; set ones are used as they are.
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

// each lists the paths with their names and defaults. The pointers are into p, so that
// [Paths.fill] can set them.
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

// A pathOption is one of the paths: its name in a configuration, and its default below
// the issuer's path.
type pathOption struct {
	name string
	is   *string
	def  string
}

// A PathError says which of the paths is wrong.
type PathError struct {
	Name  string // of the path, as in a configuration
	Path  string
	Taken string // the name of the path that has it already; or
	Want  string // an example of a right one
}

// Error implements error; the text is for the author of the configuration.
func (e *PathError) Error() string {
	if e.Taken != "" {
		return fmt.Sprintf("path %s %q: that is taken by %s", e.Name, e.Path, e.Taken)
	}
	return fmt.Sprintf("path %s %q: want something like %s", e.Name, e.Path, e.Want)
}

// Check says what is wrong with the paths that are set. Each is to be one of its
// own, and none lies among the pages.
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

// CheckFree says why a path cannot be used for something else, such as a health check: it
// is malformed, or an endpoint, a page or one of the dialects in names has it already.
// what is the option that has the path, for the error.
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

// isPlainPath reports whether a text is a path below the root in its plain spelling: no server
// between a device and us may read it as another, for a device that asks elsewhere logs in
// nowhere.
func isPlainPath(path string) bool {
	hasControl := strings.ContainsFunc(path, unicode.IsControl)
	return strings.HasPrefix(path, "/") && strings.Trim(path, "/") != "" && !hasControl &&
		!strings.ContainsAny(path, `?#% \`) && !strings.Contains(path, "//") && !guard.HasDotSegment(path)
}

// pathOf returns the path of an issuer, without a slash at its end: all paths lie below
// it, but for the well-known ones of RFC 8414. Empty: the issuer has none.
func pathOf(issuer string) string {
	u, err := url.Parse(issuer)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(u.Path, "/")
}

// Below returns the paths with their defaults filled in, below the path of an issuer.
func (p Paths) Below(issuer string) Paths {
	p.fill(pathOf(issuer))
	return p
}

// fill puts the defaults in. A slash at the end of a path is left off.
func (p *Paths) fill(prefix string) {
	p.prefix = prefix
	for _, path := range p.each() {
		if *path.is == "" {
			*path.is = prefix + path.def
		}
		*path.is = strings.TrimSuffix(*path.is, "/")
	}
}

// metadata lists where clients look: RFC 8414 §3.1 puts the issuer's path
// behind the well-known part, OpenID Connect Discovery §4 before it, and
// clients try either for both.
func (p *Paths) metadata() []string {
	var all []string
	for _, name := range []string{"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"} {
		all = append(all, name+p.prefix, p.prefix+name)
	}
	return all
}
