package caddymodule

import (
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
)

// A requestIdentity is what the guards of one request have established about it, and
// what Caddy shows of that. It is kept in a variable of the request, where the
// endpoints find it, too.
type requestIdentity struct {
	guard.State

	lacksScope *deviceauth.Identity // of a valid token that lacks a scope; nil: there is none

	hasPlaceholders bool // the placeholders are set up
	private         bool // the response is for this identity alone, even if error routes write it
	watched         bool // the response is broken off when the grant is revoked
}

// requestIdentityVar is the variable of the request that has the identity.
const requestIdentityVar = "device_auth.identity"

// requestIdentityOf returns the identity of a request. The first guard of the
// request makes it.
func requestIdentityOf(r *http.Request) *requestIdentity {
	if v, ok := caddyhttp.GetVar(r.Context(), requestIdentityVar).(*requestIdentity); ok {
		return v
	}
	v := new(requestIdentity)
	caddyhttp.SetVar(r.Context(), requestIdentityVar, v)
	return v
}

// servePlaceholders sets up the placeholders {http.auth.user.*} for a guarded request.
// Without an identity they are empty and not unset: header_up and error pages
// would write out the name of an unset placeholder.
func (v *requestIdentity) servePlaceholders(r *http.Request) {
	if v.hasPlaceholders {
		return
	}
	v.hasPlaceholders = true
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	// Caddy's basic_auth sets the same names, and its values must not be taken
	// for the guard's.
	if _, taken := repl.Get(placeholderPrefix + "id"); taken {
		repl.DeleteByPrefix(placeholderPrefix) // set by another authentication handler before this guard
	}
	repl.Map(v.placeholder)
}

// placeholderPrefix is what Caddy's own authentication handlers use, too, so
// that log formats and templates need not differ.
const placeholderPrefix = "http.auth.user."

// placeholders are the names of {http.auth.user.*}, with the claims that they
// have.
var placeholders = map[string]string{
	"id": "user", "sub": "sub", "client": "client_id", "scopes": "scope",
	"email": "email", "name": "name", "groups": "groups",
	"upstream": "upstream",
}

// placeholder is the replacer's lookup. A request that was refused for a missing
// scope has the user's id, and nothing else: Caddy's access log writes it as
// user_id.
func (v *requestIdentity) placeholder(key string) (any, bool) {
	name, ok := strings.CutPrefix(key, placeholderPrefix)
	if !ok {
		return nil, false
	}
	claim, ok := placeholders[name]
	if ok && v.Identity == nil && v.lacksScope != nil && name == "id" {
		return v.lacksScope.Claim(claim), true
	}
	if !ok || v.Identity == nil {
		return "", ok
	}
	return v.Identity.Claim(claim), true
}
