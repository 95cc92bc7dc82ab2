package deviceauth

import (
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// Identities are rejected, never repaired: two accounts of an upstream whose names
// differ only by invisible characters, or by a space at the beginning or the end,
// must not become the same for a backend.

// Clean reports whether the person may be passed to backends: user and subject, if
// set, are clean, and are exactly what the upstream sent.
func (p *Person) Clean() bool {
	return (p.User == "" || text.IsClean(p.User)) && (p.Subject == "" || text.IsClean(p.Subject)) && !p.repaired()
}

// repaired reports whether the user was made from a claim by removing control
// characters, as earlier versions did. Such people may still be in a store.
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

// displayed are claims that are names to display (OpenID Connect Core §5.1). They are
// sanitised instead of rejected, because no backend may identify a person by them.
var displayed = []string{"name", "given_name", "middle_name", "family_name", "nickname"}

// listed are claims that usually have several values (RFC 9068 §2.2.3.1); some
// providers send a single one as a string.
var listed = []string{"groups", "roles", "entitlements"}

// headerValues returns the values of a claim that a header can contain, unchanged.
// left reports whether values are left out: because they are not clean, or because
// they contain a comma, with which backends separate the values of a list.
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

// LeftOut returns the sorted names of the claims of which some value is not passed to
// backends.
func (c Claims) LeftOut() (names []string) {
	for _, name := range slices.Sorted(maps.Keys(c)) {
		if _, left := c.headerValues(name); left && !slices.Contains(displayed, name) {
			names = append(names, name)
		}
	}
	return names
}
