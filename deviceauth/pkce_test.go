package deviceauth_test

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

func s256(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// The example of RFC 7636, appendix B.
const verifier, challenge = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"

// protocol 13
func TestChallengedCodeIsRedeemedWithItsVerifierAlone(t *testing.T) {
	if s256(verifier) != challenge {
		t.Fatal("this test does not know the RFC's example")
	}
	in(t, func(w *world) {
		a, err := w.Authorize(w.Context(),
			deviceauth.AuthorizeRequest{Client: tv, From: here, Challenge: challenge, ChallengeMethod: "S256"})
		w.wants("", err)
		poll := func(verifier string) error {
			_, err := w.Redeem(w.Context(),
				deviceauth.RedeemRequest{Client: tv, DeviceCode: a.DeviceCode.Reveal(), Verifier: verifier})
			return err
		}
		wrong := []string{"", "x", verifier + "x", challenge}
		for _, v := range wrong {
			w.wants("invalid_grant", poll(v))
		}
		w.wants("authorization_pending", poll(verifier)) // the wrong ones cost its pace nothing
		w.answer(a, true)
		for _, v := range wrong {
			w.wants("invalid_grant", poll(v))
		}
		w.wants("", poll(verifier))
		time.Sleep(time.Minute)
		for _, v := range wrong { // without the verifier the code cannot be used to end the grant either
			w.wants("invalid_grant", poll(v))
		}
		if last := w.events[len(w.events)-1]; last == deviceauth.EventReplayed {
			w.Error("a code without its verifier was taken for a replay")
		}
		w.wants("invalid_grant", poll(verifier))
		if last := w.events[len(w.events)-1]; last != deviceauth.EventReplayed {
			w.Errorf("got the event %s, want a replay", last)
		}
	}, waitOff)
}

// protocol 13
func TestChallengeIsRefused(t *testing.T) {
	tests := []struct{ name, challenge, method string }{
		{"plain", challenge, "plain"},
		{"no method, which is plain", challenge, ""},
		{"another spelling of the method", challenge, "s256"},
		{"a method alone", "", "S256"},
		{"padding", challenge + "=", "S256"},
		{"too short", challenge[:42], "S256"},
		{"a verifier", strings.Repeat("v", 64), "S256"},
		{"no base64url", strings.Repeat("+", 43), "S256"},
		{"nothing at all", strings.Repeat("A", 43), "S256"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			in(t, func(w *world) {
				_, err := w.Authorize(w.Context(),
					deviceauth.AuthorizeRequest{Client: tv, From: here, Challenge: test.challenge,
						ChallengeMethod: test.method})
				w.wants("invalid_request", err)
			})
		})
	}
}

// protocol 13
func TestTokensThatWereKeptAndNotGivenNeedTheVerifier(t *testing.T) {
	in(t, func(w *world) {
		a, err := w.Authorize(w.Context(),
			deviceauth.AuthorizeRequest{Client: tv, From: here, Challenge: challenge, ChallengeMethod: "S256"})
		w.wants("", err)
		w.answer(a, true)
		m := w.muted()
		m.times.Store(1)
		poll := func(verifier string) error {
			_, err := w.Redeem(w.Context(),
				deviceauth.RedeemRequest{Client: tv, DeviceCode: a.DeviceCode.Reveal(), Verifier: verifier})
			return err
		}
		if err := poll(verifier); err == nil || deviceauth.AsError(err) != nil {
			w.Fatalf("the store was to fail: %v", err)
		}
		w.wants("invalid_grant", poll(""))
		w.wants("", poll(verifier))
	}, waitOff)
}
