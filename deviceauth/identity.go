package deviceauth

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// An Identity is who stands behind a request. All requests of a token may share
// one, so it must not be changed.
type Identity struct {
	Person   *Person // its Upstream is set where there are several
	ClientID string
	Scope    Scope
	Grant    ID
	Expires  time.Time

	clean  bool                      // whether the person is, see Person.Clean
	common [len(commonClaims)]string // the common claims, spelled
}

// commonClaims are the claims that backends are told of unless an operator says
// otherwise, in the order in which they are asked for. They are spelled once
// and not on every request.
var commonClaims = [...]string{"user", "email", "name", "groups", "client_id", "scope", "upstream"}

// NewIdentity returns who comes with a token of these claims.
func NewIdentity(p *Person, c *AccessClaims) *Identity {
	id := new(Identity)
	id.set(p, c)
	return id
}

func (id *Identity) set(p *Person, c *AccessClaims) {
	*id = Identity{Person: p, ClientID: c.ClientID, Scope: c.Scope, Grant: c.Grant, Expires: time.Unix(c.Expires, 0),
		clean: p.Clean()}
	for i, name := range commonClaims {
		id.common[i] = id.spell(name)
	}
	// One string holds all of them: with many tokens in turn, each string by itself is
	// one more access to memory that is in no cache.
	whole := strings.Join(id.common[:], "")
	for i, value := range id.common {
		id.common[i], whole = whole[:len(value)], whole[len(value):]
	}
}

// Claim spells a claim as one line of text, or "" where it is unknown: user,
// sub, client_id, scope, upstream, which is the id where there are several, or
// one of the upstream's. Lists are joined by commas,
// as Remote-Groups is read everywhere. An e-mail address of which the upstream
// says that it is not verified is left out: backends take it for proof. Names
// are sanitised; any other value is told as it is or, where it is not [Clean],
// not at all.
func (id *Identity) Claim(name string) string {
	for i, n := range commonClaims {
		if n == name {
			return id.common[i]
		}
	}
	return id.spell(name)
}

func (id *Identity) spell(name string) string {
	switch name {
	case "user", "sub":
		return id.claim(name)
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

// Encoded spells a claim as [Identity.Claim] does, each value percent-encoded
// (RFC 3986 §2.1), so that it is ASCII without spaces and commas. In a list values
// that have commas are told, too: the commas between values are the only ones.
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

// percentEncode leaves the unreserved characters of RFC 3986 §2.3 as they are.
func percentEncode(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// claim is the person's user or subject. A person with one that is not clean is not let in;
// this is the last line of defence.
func (id *Identity) claim(name string) string {
	switch {
	case !id.clean:
		return ""
	case name == "sub":
		return id.Person.Subject
	}
	return id.Person.User
}
