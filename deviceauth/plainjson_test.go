package deviceauth_test

import (
	"encoding/base64"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// randomText has the characters that are handled differently: those that differ
// between the two alphabets of base64, those outside of ASCII, and those that JSON
// escapes.
func randomText(r *rand.Rand) string {
	letters := []rune("az09 >?~\x7f<&/\\\"'-_+=\n\téëüßЯあ漢\u2028\ufffd\U0001f600\U0010ffff")
	text := make([]rune, r.IntN(40))
	for i := range text {
		text[i] = letters[r.IntN(len(letters))]
	}
	return string(text)
}

// A page that reads an ID token with atob, as browser code for this dialect does,
// reads it right, whatever the claims.
func TestIDTokenForOldDevicesIsReadByBase64(t *testing.T) {
	in(t, func(w *world) {
		r := rand.New(rand.NewPCG(1, 2))
		for range 1000 {
			claims := deviceauth.Claims{
				"email": "alice@example.com", "email_verified": true, "name": randomText(r),
				"picture": "https://example.com/?" + randomText(r),
			}
			p := &deviceauth.Person{Subject: "work|alice", Upstream: "work", User: "alice", Claims: claims}
			a := w.authorize()
			g, err := w.inspect(p, a.UserCode)
			w.wants("", err)
			_, err = w.Answer(w.Context(), deviceauth.AnswerRequest{Grant: g.ID, Allow: true, Person: p, From: here})
			w.wants("", err)
			tokens, err := w.Redeem(w.Context(),
				deviceauth.RedeemRequest{Client: tv, DeviceCode: a.DeviceCode.Reveal(), Nulls: true})
			w.wants("", err)
			payload := strings.Split(tokens.IDToken.Reveal(), ".")[1]
			text, err := base64.RawStdEncoding.DecodeString(payload)
			if err != nil {
				t.Fatalf("%s: %v", payload, err)
			}
			for _, c := range text {
				if c > '~' {
					t.Fatalf("%q is not ASCII", text)
				}
			}
			var got map[string]any
			if err := json.Unmarshal(text, &got); err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			for _, name := range []string{"name", "picture"} {
				if !reflect.DeepEqual(got[name], claims[name]) {
					t.Fatalf("%s is %q, want %q", name, got[name], claims[name])
				}
			}
		}
	}, waitOff, func(c *deviceauth.Config) { c.Clients[0].Scope = "openid profile email" })
}
