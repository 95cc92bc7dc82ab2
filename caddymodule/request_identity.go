package caddymodule

import (
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
)

// A requestIdentity is who asks in one request, as its guards find out, the one after
// the other.
type requestIdentity struct {
	token string               // that a guard took off the request
	id    *deviceauth.Identity // nil: nobody
	by    *guard.Guard         // who told the backend of id

	lacking *deviceauth.Identity // whose token is good and lacks a scope; nil: nobody's

	serving bool // the placeholders
	private bool // the answer is for nobody else, whoever writes it
	watched bool // somebody sees to it that the answer ends with the grant

	entered  bool                    // what every guarded site refuses or takes off was looked at
	reserved []guard.ReservedHeaders // that were taken off
	cookies  []string                // the Cookie header before our own were taken out; nil: they were not there
}

const requestIdentityVar = "device_auth.identity"

// requestIdentityOf returns the identity of a request. The first guard to ask makes one.
func requestIdentityOf(r *http.Request) *requestIdentity {
	if v, ok := caddyhttp.GetVar(r.Context(), requestIdentityVar).(*requestIdentity); ok {
		return v
	}
	v := new(requestIdentity)
	caddyhttp.SetVar(r.Context(), requestIdentityVar, v)
	return v
}

// serve serves the placeholders, for a request that is guarded:
// they are empty for nobody, because header_up and error pages would show an
// unset one as it is written.
func (v *requestIdentity) serve(r *http.Request) {
	if v.serving {
		return
	}
	v.serving = true
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if _, taken := repl.Get(placeholderPrefix + "id"); taken {
		repl.DeleteByPrefix(placeholderPrefix) // of another way to authenticate, which stands before
	}
	repl.Map(v.placeholder)
}

// set tells the backend who asks.
func (v *requestIdentity) set(id *deviceauth.Identity, by *guard.Guard, r *http.Request) {
	v.id, v.by = id, by
	by.SetIdentityHeaders(r, id)
}

const placeholderPrefix = "http.auth.user."

// placeholders are what {http.auth.user.*} serves, with the claims behind them.
var placeholders = map[string]string{
	"id": "user", "sub": "sub", "client": "client_id", "scopes": "scope", "email": "email", "name": "name", "groups": "groups",
	"upstream": "upstream",
}

func (v *requestIdentity) placeholder(key string) (any, bool) {
	name, ok := strings.CutPrefix(key, placeholderPrefix)
	if !ok {
		return nil, false
	}
	claim, ok := placeholders[name]
	if ok && v.id == nil && v.lacking != nil && name == "id" { // what the access log calls user_id
		return v.lacking.Claim(claim), true
	}
	if !ok || v.id == nil {
		return "", ok
	}
	return v.id.Claim(claim), true
}
