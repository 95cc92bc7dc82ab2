package deviceauth

import (
	"slices"
	"strings"
)

// An Entitlement is what the configuration lets a client have now. It bounds
// every token of a grant, however much was granted before.
type Entitlement struct {
	Scope    Scope
	Audience []string
}

// Terms are what an access token is good for.
type Terms struct {
	Scope    Scope
	Audience []string
}

// errNothingLeft says that a client may have nothing any more of what it was
// granted. What a device hears depends on what it asked for.
var errNothingLeft = NewError("invalid_grant", "this client may have nothing any more of what was granted; start again")

// terms returns what a token of the grant is good for: what was granted, less
// what the configuration has taken out since, and narrowed to the scope (RFC 6749
// §6) and the resources (RFC 8707 §2.2) that are asked for, of which none asks
// for all. The grant itself keeps what it has, so that what is put back into the
// configuration is there again.
func (e Entitlement) terms(g *Grant, asked Scope, resource []string) (Terms, error) {
	left := Terms{Scope: g.Scope.and(e.Scope), Audience: e.audience(g)}
	if len(left.Audience) == 0 && len(g.Audience) > 0 || left.Scope.isVain() && !g.Scope.isVain() {
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

// narrow returns those of some audiences that are asked for.
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

// audience returns the audiences of a grant that are still configured, as they
// are spelled now.
func (e Entitlement) audience(g *Grant) (list []string) {
	for _, a := range e.Audience {
		if SameAudience([]string{a}, g.Audience) {
			list = append(list, a)
		}
	}
	return list
}

// covers reports whether a token that was made before may still be had.
func (e Entitlement) covers(t Terms) bool {
	return t.Scope.Within(e.Scope) &&
		!slices.ContainsFunc(t.Audience, func(a string) bool { return !SameAudience([]string{a}, e.Audience) })
}

// entitlement is what a client may have now.
func (e *Engine) entitlement(c *Client) Entitlement {
	return Entitlement{Scope: c.Scope, Audience: e.cfg.Audience}
}

// and returns the tokens of s that are in other, too.
func (s Scope) and(other Scope) Scope {
	return NewScope(slices.DeleteFunc(s.List(), func(t string) bool { return !other.Has(t) })...)
}

// isVain reports whether a scope opens nothing: offline_access by itself only
// says for how long (OpenID Connect Core §11).
func (s Scope) isVain() bool { return strings.TrimSpace(string(s)) == "" || s == ScopeOfflineAccess }
