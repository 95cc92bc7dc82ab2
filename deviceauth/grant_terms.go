package deviceauth

import (
	"slices"
	"strings"
)

// An Entitlement is what the current configuration permits a client. It limits every
// token of a grant, even if more was granted.
type Entitlement struct {
	Scope    Scope
	Audience []string
}

// Terms are the scope and audience of an access token.
type Terms struct {
	Scope    Scope
	Audience []string
}

// errNothingLeft is the error if a client is no longer permitted anything that was
// granted. The device gets an error that depends on its request.
var errNothingLeft = NewError("invalid_grant", "this client may have nothing any more of what was granted; start again")

// terms returns the scope and audience of a token of the grant: what was granted,
// without what has been removed from the configuration since, and narrowed to the
// requested scope (RFC 6749 §6) and resources (RFC 8707 §2.2); an empty request is
// for everything. The grant itself is not narrowed, so that what is added to the
// configuration again is permitted again.
func (e Entitlement) terms(g *Grant, asked Scope, resource []string) (Terms, error) {
	left := Terms{Scope: g.Scope.and(e.Scope), Audience: e.audience(g)}
	if len(left.Audience) == 0 && len(g.Audience) > 0 || left.Scope.permitsNothing() && !g.Scope.permitsNothing() {
		return Terms{}, errNothingLeft
	}
	if !asked.Within(g.Scope) {
		return Terms{}, errWider
	}
	if asked != "" {
		if left.Scope = asked.and(left.Scope); left.Scope == "" {
			return Terms{}, errWider
		}
	}
	if len(resource) == 0 {
		return left, nil
	}
	narrowed, err := narrow(resource, left.Audience)
	left.Audience = narrowed
	return left, err
}

// narrow returns the audiences that are requested.
func narrow(resource, audiences []string) (list []string, err error) {
	for _, asked := range resource {
		a, ok := AudienceOf(asked, audiences)
		if !ok {
			return nil, errTarget(asked, audiences)
		}
		list = append(list, a)
	}
	return slices.Compact(slices.Sorted(slices.Values(list))), nil
}

// audience returns the audiences of a grant that are still configured, as they are
// spelled in the configuration.
func (e Entitlement) audience(g *Grant) (list []string) {
	for _, a := range e.Audience {
		if SameAudience([]string{a}, g.Audience) {
			list = append(list, a)
		}
	}
	return list
}

// covers reports whether a token with these terms is still permitted.
func (e Entitlement) covers(t Terms) bool {
	return t.Scope.Within(e.Scope) &&
		!slices.ContainsFunc(t.Audience, func(a string) bool { return !SameAudience([]string{a}, e.Audience) })
}

// entitlement returns what the configuration permits a client.
func (e *Engine) entitlement(c *Client) Entitlement {
	return Entitlement{Scope: c.Scope, Audience: e.cfg.Audience}
}

// and returns the scopes of s that are also in other.
func (s Scope) and(other Scope) Scope {
	return NewScope(slices.DeleteFunc(s.List(), func(t string) bool { return !other.Has(t) })...)
}

// permitsNothing reports whether a scope permits nothing: offline_access alone only extends
// the access (OpenID Connect Core §11).
func (s Scope) permitsNothing() bool {
	return strings.TrimSpace(string(s)) == "" || s == ScopeOfflineAccess
}
