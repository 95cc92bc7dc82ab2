package deviceauth

import (
	"slices"
	"strings"
)

// A Scope is a set of scope tokens in the syntax of RFC 6749 §3.3: separated by
// single spaces, without duplicates, in the order in which they were requested.
type Scope string

// Scopes of OpenID Connect Core §5.4 and §11, and groups, that have a meaning here.
const (
	ScopeOpenID        = "openid"
	ScopeProfile       = "profile"
	ScopeEmail         = "email"
	ScopeGroups        = "groups"
	ScopeOfflineAccess = "offline_access"
)

// ParseScope parses a scope parameter. Refusals: invalid_scope.
func ParseScope(s string) (Scope, error) {
	for i := range len(s) {
		// RFC 6749 §3.3: NQCHAR without the space that separates.
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return "", NewError("invalid_scope",
				"a scope is printable ASCII without quotes and backslashes, separated by spaces")
		}
	}
	return NewScope(strings.Fields(s)...), nil
}

// NewScope returns the set of some tokens, which must be well-formed.
func NewScope(tokens ...string) Scope {
	var list []string
	for _, t := range tokens {
		if !slices.Contains(list, t) {
			list = append(list, t)
		}
	}
	return Scope(strings.Join(list, " "))
}

// List returns the tokens.
func (s Scope) List() []string { return strings.Fields(string(s)) }

// Has reports whether the token is in the set.
func (s Scope) Has(token string) bool {
	for t := range strings.SplitSeq(string(s), " ") {
		if t == token {
			return token != ""
		}
	}
	return false
}

// Within reports whether all of s is in other.
func (s Scope) Within(other Scope) bool {
	for t := range strings.FieldsSeq(string(s)) {
		if !other.Has(t) {
			return false
		}
	}
	return true
}
