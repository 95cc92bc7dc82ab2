package deviceauth

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// An Identity is the person and the client of a request. All requests with a token
// may share one, so it must not be modified.
type Identity struct {
	Person   *Person // its Upstream is set if there are several
	ClientID string
	Scope    Scope
	Grant    ID
	Expires  time.Time

	clean  bool                      // whether the person is clean, see Person.Clean
	common [len(commonClaims)]string // the values of commonClaims
}

// commonClaims are the claims of the default identity headers of package guard. Their
// values are computed once and not for every request.
var commonClaims = [...]string{"user", "email", "name", "groups", "client_id", "scope", "upstream"}

// NewIdentity returns the identity for a token with these claims.
func NewIdentity(p *Person, c *AccessClaims) *Identity {
	id := new(Identity)
	id.set(p, c)
	return id
}

func (id *Identity) set(p *Person, c *AccessClaims) {
	*id = Identity{Person: p, ClientID: c.ClientID, Scope: c.Scope, Grant: c.Grant, Expires: time.Unix(c.Expires, 0),
		clean: p.Clean()}
	for i, name := range commonClaims {
		id.common[i] = id.format(name)
	}
	// All values share one string: with many tokens in use, each separate string
	// would be one more cache miss.
	whole := strings.Join(id.common[:], "")
	for i, value := range id.common {
		id.common[i], whole = whole[:len(value)], whole[len(value):]
	}
}

// Claim returns a claim as one line of text, or "" if it is unknown: user, sub,
// client_id, scope, upstream (the id, if there are several), or one of the upstream's
// claims. Lists are joined by commas, as backends expect in Remote-Groups. An e-mail
// address that the upstream marks as not verified is omitted, because backends take
// it as proof. Names to display are sanitised; any other value is returned unchanged,
// or omitted if it is not [text.IsClean].
func (id *Identity) Claim(name string) string {
	for i, n := range commonClaims {
		if n == name {
			return id.common[i]
		}
	}
	return id.format(name)
}

func (id *Identity) format(name string) string {
	switch name {
	case "user", "sub":
		return id.userOrSubject(name)
	case "upstream":
		return id.Person.Upstream
	case "client_id":
		return id.ClientID
	case "scope":
		return string(id.Scope)
	case "email":
		if _, known := id.Person.Claims["email_verified"]; known && !id.Person.Claims.Bool("email_verified") {
			return ""
		}
	}
	if slices.Contains(displayed, name) {
		return text.Plain(strings.Join(id.Person.Claims.Strings(name), ","))
	}
	values, _ := id.Person.Claims.headerValues(name)
	return strings.Join(values, ",")
}

// Encoded returns a claim as [Identity.Claim] does, each value percent-encoded (RFC
// 3986 §2.1), so that it is ASCII without spaces and commas. Lists also include
// values that contain commas, since only the separators are unencoded commas.
func (id *Identity) Encoded(name string) string {
	single := []string{"user", "sub", "upstream", "client_id", "scope", "email"}
	if slices.Contains(single, name) || slices.Contains(displayed, name) {
		return percentEncode(id.Claim(name))
	}
	var values []string
	for _, value := range id.Person.Claims.Strings(name) {
		if text.IsClean(value) {
			values = append(values, percentEncode(value))
		}
	}
	return strings.Join(values, ",")
}

// percentEncode encodes everything but the unreserved characters of RFC 3986 §2.3.
func percentEncode(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// userOrSubject returns the person's user or subject, or "" if they are not clean. Such a
// person is refused earlier; this is the last line of defence.
func (id *Identity) userOrSubject(name string) string {
	switch {
	case !id.clean:
		return ""
	case name == "sub":
		return id.Person.Subject
	}
	return id.Person.User
}
