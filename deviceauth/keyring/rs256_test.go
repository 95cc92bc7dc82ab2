package keyring

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/memstore"
)

// signedBy returns the algorithm and the key that a token names.
func signedBy(t *testing.T, token string) (algorithm, kid string) {
	t.Helper()
	parsed, _, err := jwt.NewParser().ParseUnverified(token, jwt.MapClaims{})
	if err != nil {
		t.Fatal(err)
	}
	return parsed.Method.Alg(), parsed.Header["kid"].(string)
}

// idToken signs one, which the ring and its set know.
func idToken(t *testing.T, r *Keyring, algorithm string) (signed, kid string) {
	t.Helper()
	token, err := r.SignID(algorithm, claims{Subject: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	signed, kid = signedBy(t, token)
	if err := r.Verify(deviceauth.TypeID, token, &claims{}); err != nil {
		t.Errorf("its own token: %v", err)
	}
	if err := r.Verify(deviceauth.TypeAccess, token, &claims{}); err == nil {
		t.Error("an ID token is taken for an access token")
	}
	if !strings.Contains(string(r.JWKS()), `"kid":"`+kid+`"`) {
		t.Errorf("%s is not published: %s", kid, r.JWKS())
	}
	return signed, kid
}

// protocol 19, 27
func TestIDTokensWithRS256BesideAnotherAlgorithm(t *testing.T) {
	vault := memstore.New()
	r := open(t, vault, "ES256")
	if _, err := r.SignID("RS256", claims{Subject: "alice"}); err == nil {
		t.Error("a ring without such a key signs with it")
	}
	if err := r.IncludeRS256(t.Context()); err != nil {
		t.Fatal(err)
	}
	signed, kid := idToken(t, r, "RS256")
	if signed != "RS256" || !slices.Equal(r.Algorithms(), []string{"ES256", "RS256"}) {
		t.Errorf("signed with %s, of %v", signed, r.Algorithms())
	}
	if signed, _ := idToken(t, r, ""); signed != "ES256" {
		t.Errorf("another client's is signed with %s", signed)
	}
	token, err := r.Sign(deviceauth.TypeAccess, claims{Subject: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	if signed, _ := signedBy(t, token); signed != "ES256" {
		t.Errorf("access tokens are signed with %s", signed)
	}
	again := open(t, vault, "ES256") // another gateway, and one after a restart
	if err := again.IncludeRS256(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, other := idToken(t, again, "RS256"); other != kid {
		t.Errorf("two gateways sign with %s and %s", kid, other)
	}
	if before := string(again.JWKS()); again.Maintain(t.Context()) != nil || string(again.JWKS()) != before {
		t.Error("a gateway that maintains the ring makes another key")
	}
}

// protocol 27
func TestRingOfRS256NeedsNoOtherKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		vault := memstore.New()
		r := open(t, vault, "RS256")
		if err := r.IncludeRS256(t.Context()); err != nil {
			t.Fatal(err)
		}
		if signed, _ := idToken(t, r, "RS256"); signed != "RS256" || len(r.Keys()) != 1 {
			t.Errorf("%s of %v", signed, r.Keys())
		}
		r = open(t, vault, "ES256") // which takes over in ten minutes
		if err := r.IncludeRS256(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if signed, _ := idToken(t, r, "RS256"); signed != "RS256" {
				t.Errorf("signed with %s", signed)
			}
			time.Sleep(publishFor)
		}
	})
}

// protocol 27
func TestKeyOfIDTokensIsReplacedLikeTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		vault := memstore.New()
		r := open(t, vault, "")
		maintain := func() {
			t.Helper()
			if err := r.Maintain(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.IncludeRS256(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, first := idToken(t, r, "RS256")
		token, err := r.SignID("RS256", claims{Subject: "alice"})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(rotateAfter + time.Second)
		maintain()
		if _, kid := idToken(t, r, "RS256"); kid != first {
			t.Error("the next key signs before it was published")
		}
		if n := strings.Count(string(r.JWKS()), `"kty":"RSA"`); n != 2 {
			t.Errorf("%d RSA keys are published, want 2", n)
		}
		time.Sleep(publishFor)
		if _, kid := idToken(t, r, "RS256"); kid == first {
			t.Error("the next key does not sign")
		}
		if err := r.Verify(deviceauth.TypeID, token, &claims{}); err != nil {
			t.Errorf("a token of the key before: %v", err)
		}
		time.Sleep(keepFor + time.Second)
		maintain()
		if strings.Contains(string(r.JWKS()), first) {
			t.Error("a key whose last token has ended is still published")
		}
		before := len(r.IDKeys())
		if err := r.Rotate(t.Context()); err != nil || len(r.IDKeys()) != before+1 {
			t.Errorf("a rotation by hand: %v, %d keys", err, len(r.IDKeys()))
		}
		r = open(t, vault, "") // no client needs it any more
		time.Sleep(rotateAfter + keepFor + time.Hour)
		maintain()
		if len(r.IDKeys()) != 0 || strings.Contains(string(r.JWKS()), `"RSA"`) {
			t.Errorf("it is kept for ever: %s", r.JWKS())
		}
	})
}

// IDKeys are the keys of ID tokens, as they are stored.
func (k *Keyring) IDKeys() []storedKey { return k.current.Load().ring.IDKeys }

// A key that the store has lost is written back with the others.
func TestLostKeyOfIDTokensIsWrittenBack(t *testing.T) {
	vault := memstore.New()
	r := open(t, vault, "")
	if err := r.IncludeRS256(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, kid := idToken(t, r, "RS256")
	stored(t, vault, func(r *ring) { *r = ring{} })
	if err := r.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, after := idToken(t, r, "RS256"); after != kid {
		t.Errorf("signed with %s, and with %s before", after, kid)
	}
	var keys []Key
	text, err := json.Marshal(r.Keys())
	if err != nil || json.Unmarshal(text, &keys) != nil || len(keys) != 2 || keys[1].Algorithm != "RS256" ||
		keys[1].State != KeySigning {
		t.Errorf("%s", text)
	}
}
