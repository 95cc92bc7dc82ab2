package deviceauth_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

var farGuard = deviceauth.Credentials{ClientID: "edge", Secret: "x", Method: deviceauth.AuthBasic}

func withFarGuard(c *deviceauth.Config) {
	c.Clients = append(c.Clients, deviceauth.Client{ID: "edge", Secret: "x", ResourceServer: true})
}

// introspects wants an answer to a guard elsewhere.
func (w *world) introspects(want bool, token deviceauth.Secret) *deviceauth.Introspection {
	w.Helper()
	found, err := w.Introspect(w.Context(), deviceauth.IntrospectRequest{Client: farGuard, Token: token.Reveal()})
	if err != nil || (found != nil) != want {
		w.Fatalf("got %v, %v", found, err)
	}
	return found
}

// A remote guard caches responses; that delay and the one of a replicated store must
// not add up.
//
// protocol 24, 25
func TestGuardElsewhereIsToldOfARevocationThatTheStoreIsBehindOf(t *testing.T) {
	in(t, func(w *world) {
		tokens := w.tokens()
		g, err := w.store.Get(w.Context(), w.introspects(true, tokens.AccessToken).Claims.Grant)
		w.wants("", err)
		before := *g
		w.anew(func(c *deviceauth.Config) { c.Store = &behind{Store: w.store, before: &before} })
		w.introspects(true, tokens.AccessToken)
		w.wants("", w.Revoke(w.Context(),
			deviceauth.RevokeRequest{Client: deviceauth.Credentials{ClientID: "tv"},
				Token: tokens.RefreshToken.Reveal()}))
		w.wants("", w.admit(tokens.AccessToken)) // the store is behind
		w.introspects(false, tokens.AccessToken)
	}, withFarGuard)
}

// full is a store whose disk is.
type full struct{ deviceauth.Store }

func (*full) Update(context.Context, deviceauth.ID, func(*deviceauth.Grant) error) error {
	return errors.New("no space left")
}

func TestGuardElsewhereIsAnsweredByAStoreThatCanOnlyBeRead(t *testing.T) {
	in(t, func(w *world) {
		tokens := w.tokens()
		w.anew(func(c *deviceauth.Config) { c.Store = &full{Store: w.store} })
		w.introspects(true, tokens.AccessToken)
	}, withFarGuard)
}

// A shared store that is as it was some time ago has a grant of which tokens are out, and
// that no person has allowed yet.
//
// protocol 4, 25
func TestTokenOfAGrantWithoutAPersonIsRevoked(t *testing.T) {
	for name, back := range map[string]func(*deviceauth.Grant){
		"pending": func(g *deviceauth.Grant) { g.State = deviceauth.Pending },
		"denied":  func(g *deviceauth.Grant) { g.State = deviceauth.Denied },
		"revoked": func(g *deviceauth.Grant) { g.State = deviceauth.Revoked },
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(w *world) {
				tokens := w.tokens()
				w.wants("", w.admit(tokens.AccessToken))
				id := w.introspects(true, tokens.AccessToken).Claims.Grant
				w.wants("", w.store.Update(w.Context(), id, func(g *deviceauth.Grant) error {
					back(g)
					g.Person, g.Refresh, g.Redeemed = nil, nil, time.Time{}
					return nil
				}))
				w.wants("invalid_token", w.admit(tokens.AccessToken))
				w.introspects(false, tokens.AccessToken)
				w.introspects(false, tokens.RefreshToken)
				_, err := w.Userinfo(w.Context(), tokens.AccessToken.Reveal())
				w.wants("invalid_token", err)
				_, err = w.refresh(tokens.RefreshToken, "")
				w.wants("invalid_grant", err)
				for _, token := range []deviceauth.Secret{tokens.AccessToken, tokens.RefreshToken} {
					w.wants("", w.Revoke(w.Context(), deviceauth.RevokeRequest{Client: tv, Token: token.Reveal()}))
				}
			}, withFarGuard, everybodyAtWork)
		})
	}
}
