package deviceauth

import (
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// Identity is refused, never repaired: two accounts of an upstream whose names
// differ only by what cannot be seen, a space at an end or a character without
// width, must not become the same one to a backend.

// Clean reports whether backends can be told of the person: the user and the
// subject are clean, where there are any, and are what the upstream said.
func (p *Person) Clean() bool {
	return (p.User == "" || text.IsClean(p.User)) && (p.Subject == "" || text.IsClean(p.Subject)) && !p.repaired()
}

// repaired reports whether the user was made of a claim by taking control
// characters out, as sign-ins did once. Such people may still be in a store.
func (p *Person) repaired() bool {
	was := false
	for _, claim := range p.Claims {
		switch s, _ := claim.(string); {
		case s == "" || p.User == "":
		case s == p.User:
			return false
		case len(s) > len(p.User) && withoutControls(s) == p.User:
			was = true
		}
	}
	return was
}

func withoutControls(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, s)
}

// displayed are claims that are names for people to read (OpenID Connect Core
// §5.1): no backend may identify a person by them, so they are sanitised.
var displayed = []string{"name", "given_name", "middle_name", "family_name", "nickname"}

// listed are claims that have several values as a rule (RFC 9068 §2.2.3.1); some
// providers send a single one as a string.
var listed = []string{"groups", "roles", "entitlements"}

// headerValues returns the values of a claim that a header can hold, unchanged, and
// whether some are left out: because they are not clean, or because they have
// a comma, by which backends tell the values of a list apart.
func (c Claims) headerValues(name string) (values []string, left bool) {
	_, single := scalar(c[name])
	separated := !single || slices.Contains(listed, name)
	for _, value := range c.Strings(name) {
		switch {
		case value == "":
		case !text.IsClean(value) || separated && strings.Contains(value, ","):
			left = true
		default:
			values = append(values, value)
		}
	}
	return values, left
}

// LeftOut returns the names of the claims of which backends are not told some
// value, sorted.
func (c Claims) LeftOut() (names []string) {
	for _, name := range slices.Sorted(maps.Keys(c)) {
		if _, left := c.headerValues(name); left && !slices.Contains(displayed, name) {
			names = append(names, name)
		}
	}
	return names
}
