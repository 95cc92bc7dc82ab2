package deviceauth_test

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// audienceOf reads the aud claim of a token.
func (w *world) audienceOf(token deviceauth.Secret) []string {
	w.Helper()
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token.Reveal(), ".")[1])
	if err != nil {
		w.Fatal(err)
	}
	var claims deviceauth.AccessClaims
	if err := json.Unmarshal(payload, &claims); err != nil {
		w.Fatal(err)
	}
	return claims.Audience
}

// leaves has the client tv keep these scopes, and the server these audiences.
func leaves(scope deviceauth.Scope, audience ...string) func(*deviceauth.Config) {
	return func(c *deviceauth.Config) { c.Clients[0].Scope, c.Audience = scope, audience }
}

// A termsCase is what a configuration leaves of the scope and the audience of a grant,
// or the errors that it is answered with.
type termsCase struct {
	name         string
	after        func(*deviceauth.Config)
	scope        deviceauth.Scope
	audience     []string
	atRedemption string
	atRefresh    string
}

// protocol 18
func TestWhatWasTakenOutOfTheConfigurationIsLeftOut(t *testing.T) {
	const api, v2 = "https://api.example.com", "https://api.example.com/v2"
	tests := []termsCase{
		{name: "nothing",
			after: leaves("openid email offline_access read write", api, v2),
			scope: "openid email offline_access read write", audience: []string{api, v2}},
		{name: "a scope",
			after: leaves("openid email offline_access read", api, v2),
			scope: "openid email offline_access read", audience: []string{api, v2}},
		{name: "an audience",
			after: leaves("openid email offline_access read write", v2),
			scope: "openid email offline_access read write", audience: []string{v2}},
		{name: "openid",
			after: leaves("offline_access read", api, v2),
			scope: "offline_access read", audience: []string{api, v2}},
		{name: "all scopes but the one that opens nothing",
			after: leaves("offline_access admin", api, v2), atRedemption: "access_denied", atRefresh: "invalid_grant"},
		{name: "all audiences",
			after: leaves("openid offline_access read", "https://other.example"), atRedemption: "access_denied",
			atRefresh: "invalid_grant"},
		{name: "all scopes",
			after: leaves("admin", api, v2), atRedemption: "access_denied", atRefresh: "unauthorized_client"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			in(t, func(w *world) { w.terms(test) }, waitOff)
		})
	}
}

// terms connects a device before the configuration of a case, and others after it.
func (w *world) terms(test termsCase) {
	w.Helper()
	const api, v2 = "https://api.example.com", "https://api.example.com/v2"
	ask := func() *deviceauth.Authorization {
		a, err := w.Authorize(w.Context(),
			deviceauth.AuthorizeRequest{Client: tv, From: here, Audience: []string{api, v2}})
		w.wants("", err)
		return a
	}
	connected, approved, pending := ask(), ask(), ask()
	w.answer(connected, true)
	w.answer(approved, true)
	before, err := w.poll(connected)
	w.wants("", err)
	was := w.Engine
	w.anew(test.after)

	has := func(tokens *deviceauth.Tokens) {
		w.Helper()
		if tokens.Scope != test.scope || !slices.Equal(w.audienceOf(tokens.AccessToken), test.audience) ||
			(tokens.IDToken != "") != test.scope.Has("openid") {
			w.Errorf("got scope %q and audience %q, want %q and %q", tokens.Scope,
				w.audienceOf(tokens.AccessToken), test.scope, test.audience)
		}
	}
	tokens, err := w.poll(approved)
	w.wants(test.atRedemption, err)
	if err == nil {
		has(tokens)
	}
	if test.atRedemption != "" {
		_, err = w.poll(pending)
		w.wants(test.atRedemption, err)
	}
	tokens, err = w.refresh(before.RefreshToken, "")
	w.wants(test.atRefresh, err)
	if err == nil {
		has(tokens)
		before = tokens
	}
	w.Engine = was // what is configured again is back in the grant that was connected before
	tokens, err = w.refresh(before.RefreshToken, "")
	w.wants("", err)
	if tokens.Scope != "openid email offline_access read write" {
		w.Errorf("put back: got %q", tokens.Scope)
	}
}

// protocol 18, 22
func TestRefreshForWhatWasTakenOut(t *testing.T) {
	in(t, func(w *world) {
		tokens := w.tokens()
		w.anew(leaves("openid offline_access read", "https://api.example.com"))
		_, err := w.refresh(tokens.RefreshToken, "write")
		w.wants("invalid_scope", err)
		narrow, err := w.refresh(tokens.RefreshToken, "read write")
		w.wants("", err)
		if narrow.Scope != "read" {
			w.Errorf("got %q", narrow.Scope)
		}
	})
}

// protocol 18, 25
func TestIntrospectionOfARefreshTokenKnowsWhatWasTakenOut(t *testing.T) {
	in(t, func(w *world) {
		a, err := w.Authorize(w.Context(), deviceauth.AuthorizeRequest{Client: meter, From: here})
		w.wants("", err)
		w.answer(a, true)
		tokens, err := w.Redeem(w.Context(), deviceauth.RedeemRequest{Client: meter, DeviceCode: a.DeviceCode.Reveal()})
		w.wants("", err)
		look := func() *deviceauth.Introspection {
			found, err := w.Introspect(w.Context(),
				deviceauth.IntrospectRequest{Client: meter, Token: tokens.RefreshToken.Reveal()})
			w.wants("", err)
			return found
		}
		if found := look(); found == nil || found.Claims.Scope != "offline_access" {
			w.Errorf("got %+v", found)
		}
		w.anew(func(c *deviceauth.Config) { c.Audience = []string{"https://other.example"} })
		if found := look(); found != nil {
			w.Errorf("it can be used for nothing, and is told to be alive: %+v", found)
		}
	}, waitOff)
}
