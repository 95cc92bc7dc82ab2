package caddymodule

import (
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
)

// A requestIdentity is the result of the guards of a request, and what Caddy shows of
// it. It is in a variable of the request, where the endpoints find it, too.
type requestIdentity struct {
	guard.State

	lacksScope *deviceauth.Identity // of a valid token that lacks a scope; nil: there is none

	hasPlaceholders bool // the placeholders have been set up
	private         bool // the response is for this identity only, even if error routes write it
	watched         bool // a stream watches the grant for a revocation
}

// requestIdentityVar is the name of the variable of the request.
const requestIdentityVar = "device_auth.identity"

// requestIdentityOf returns the identity of a request. It creates it for the first
// guard.
func requestIdentityOf(r *http.Request) *requestIdentity {
	if v, ok := caddyhttp.GetVar(r.Context(), requestIdentityVar).(*requestIdentity); ok {
		return v
	}
	v := new(requestIdentity)
	caddyhttp.SetVar(r.Context(), requestIdentityVar, v)
	return v
}

// servePlaceholders sets up the placeholders {http.auth.user.*} for a guarded
// request. Without an identity they are empty and not unset: header_up and error
// pages would print the name of an unset placeholder.
func (v *requestIdentity) servePlaceholders(r *http.Request) {
	if v.hasPlaceholders {
		return
	}
	v.hasPlaceholders = true
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	// Caddy's basic_auth sets the same names, and its values must not be mistaken for
	// the guard's.
	if _, taken := repl.Get(placeholderPrefix + "id"); taken {
		repl.DeleteByPrefix(placeholderPrefix) // set by another authentication handler before this guard
	}
	repl.Map(v.placeholder)
}

// placeholderPrefix is the prefix of Caddy's own authentication handlers, so that log
// formats and templates can be the same.
const placeholderPrefix = "http.auth.user."

// placeholders maps the names of {http.auth.user.*} to claims.
var placeholders = map[string]string{
	"id": "user", "sub": "sub", "client": "client_id", "scopes": "scope",
	"email": "email", "name": "name", "groups": "groups",
	"upstream": "upstream",
}

// placeholder is the lookup function of the replacer. A request that was refused for
// a missing scope has only the user's id, which Caddy's access log writes as user_id.
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
