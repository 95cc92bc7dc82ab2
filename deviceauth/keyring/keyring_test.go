package keyring

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/memstore"
)

type claims struct {
	Subject string `json:"sub"`
}

func open(t *testing.T, vault *memstore.Store, algorithm string) *Keyring {
	t.Helper()
	r, err := Open(t.Context(), vault, algorithm)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestEveryAlgorithmSignsAndVerifies(t *testing.T) {
	for algorithm := range makers {
		t.Run(algorithm, func(t *testing.T) {
			r := open(t, memstore.New(), algorithm)
			token, err := r.Sign("at+jwt", claims{Subject: "alice"})
			if err != nil {
				t.Fatal(err)
			}
			var got claims
			if err := r.Verify("at+jwt", token, &got); err != nil || got.Subject != "alice" {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

// protocol 27
func TestTokensOutliveRestartAndChangeOfAlgorithm(t *testing.T) {
	vault := memstore.New()
	token, err := open(t, vault, "ES256").Sign("at+jwt", claims{Subject: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	for _, algorithm := range []string{"ES256", "EdDSA", "ES256"} {
		if err := open(t, vault, algorithm).Verify("at+jwt", token, &claims{}); err != nil {
			t.Errorf("after opening with %s: %v", algorithm, err)
		}
	}
}

func TestGatewaysThatStartAtOnceAgree(t *testing.T) {
	vault := memstore.New()
	rings := make([]*Keyring, 8)
	var wg sync.WaitGroup
	for i := range rings {
		wg.Go(func() { rings[i], _ = Open(context.Background(), vault, "ES256") })
	}
	wg.Wait()
	for _, r := range rings[1:] {
		if string(r.JWKS()) != string(rings[0].JWKS()) || r.Secret(PurposeCookie) != rings[0].Secret(PurposeCookie) {
			t.Fatal("two gateways have different keys")
		}
	}
}

// signs returns an access token of alice's.
func signs(t *testing.T, r *Keyring) string {
	t.Helper()
	token, err := r.Sign("at+jwt", claims{Subject: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// expectStates maintains two gateways' rings, and wants both to have and publish the
// same keys, in these states.
func expectStates(t *testing.T, when string, a, b *Keyring, want ...KeyState) {
	t.Helper()
	for _, r := range []*Keyring{a, b} {
		if err := r.Maintain(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range []*Keyring{a, b} {
		var got []KeyState
		for _, k := range r.Keys() {
			got = append(got, k.State)
		}
		if !slices.Equal(got, want) || strings.Count(string(r.JWKS()), `"kid"`) != len(want) {
			t.Fatalf("%s: keys %v, want %v, published: %s", when, got, want, r.JWKS())
		}
	}
	if string(a.JWKS()) != string(b.JWKS()) {
		t.Fatalf("%s: two gateways publish different keys", when)
	}
}

// protocol 27
func TestNewKeyIsPublishedBeforeItSignsAndOldOneKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		vault := memstore.New()
		a, b := open(t, vault, ""), open(t, vault, "")
		expect := func(when string, want ...KeyState) { t.Helper(); expectStates(t, when, a, b, want...) }
		expect("at first", KeySigning)
		time.Sleep(rotateAfter)
		expect("a moment before it is due", KeySigning)
		time.Sleep(time.Second)
		before := signs(t, a)
		expect("when it is due", KeySigning, KeyNext)
		time.Sleep(publishFor - time.Second)
		last := signs(t, b)
		expect("a moment before the new key signs", KeySigning, KeyNext)
		time.Sleep(time.Second)
		expect("when the new key signs", KeyRetired, KeySigning)
		if after := signs(t, a); strings.Split(after, ".")[0] == strings.Split(before, ".")[0] ||
			strings.Split(last, ".")[0] != strings.Split(before, ".")[0] {
			t.Error("the new key signs too early, or not at all")
		}
		time.Sleep(24*time.Hour + time.Minute)
		expect("a day later", KeyRetired, KeySigning)
		for _, token := range []string{before, last} {
			if err := b.Verify("at+jwt", token, &claims{}); err != nil {
				t.Errorf("a token of the old key: %v", err)
			}
		}
		time.Sleep(time.Hour)
		expect("when the last token has ended", KeySigning)
		if err := a.Verify("at+jwt", last, &claims{}); err == nil {
			t.Error("a key that was dropped still verifies")
		}
		for range 2 {
			if err := b.Rotate(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		expect("after two rotations by hand, which are one", KeySigning, KeyNext)
		time.Sleep(publishFor)
		expect("when it signs", KeyRetired, KeySigning)
	})
}

// protocol 27
func TestNewAlgorithmBeginsWhenItIsPublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		vault := memstore.New()
		open(t, vault, "ES256")
		r := open(t, vault, "EdDSA")
		if got := r.Algorithms(); !slices.Equal(got, []string{"ES256", "EdDSA"}) {
			t.Errorf("at first: %v", got)
		}
		time.Sleep(publishFor)
		if got := r.Algorithms(); !slices.Equal(got, []string{"EdDSA"}) {
			t.Errorf("later: %v", got)
		}
	})
}

// protocol 27
func TestSetHasPublicPartsOnly(t *testing.T) {
	vault := memstore.New()
	var last *Keyring
	for algorithm := range makers {
		last = open(t, vault, algorithm)
	}
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(last.JWKS(), &set); err != nil {
		t.Fatal(err)
	}
	if len(set.Keys) != len(makers) {
		t.Errorf("%d keys, want %d", len(set.Keys), len(makers))
	}
	for _, k := range set.Keys {
		for _, private := range []string{"d", "p", "q", "dp", "dq", "qi", "k"} {
			if k[private] != "" {
				t.Errorf("key %s has a %q", k["kid"], private)
			}
		}
		if k["kid"] == "" || k["use"] != "sig" || makers[k["alg"]] == nil {
			t.Errorf("key %v lacks kid, use or alg", k)
		}
	}
}

// forge signs what an attacker would like to have signed.
func forge(t *testing.T, method jwt.SigningMethod, key any, header map[string]any) string {
	t.Helper()
	token := jwt.NewWithClaims(method, jwt.MapClaims{"sub": "alice"})
	for name, value := range header {
		token.Header[name] = value
	}
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// protocol 30
func TestForgeriesAreRefused(t *testing.T) {
	r, other := open(t, memstore.New(), "ES256"), open(t, memstore.New(), "ES256")
	signing := r.current.Load().keys[0]
	kid, own, foreign := signing.id, signing.private, other.current.Load().keys[0].private
	public, err := x509.MarshalPKIXPublicKey(own.Public())
	if err != nil {
		t.Fatal(err)
	}
	es, good := jwt.SigningMethodES256, map[string]any{"typ": "at+jwt", "kid": kid}
	with := func(name string, value any) map[string]any {
		header := map[string]any{"typ": "at+jwt", "kid": kid}
		header[name] = value
		return header
	}
	genuine := forge(t, es, own, good)
	tests := []struct{ name, token string }{
		{"alg none", forge(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, good)},
		{"alg None", base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"None","typ":"at+jwt","kid":"`+kid+`"}`)) +
			"." + strings.Split(genuine, ".")[1] + "."},
		{"HS256 with the public key", forge(t, jwt.SigningMethodHS256, public, good)},
		{"another key", forge(t, es, foreign, good)},
		{"another key named by jwk", forge(t, es, foreign, with("jwk", json.RawMessage(other.JWKS())))},
		{"another key named by jku", forge(t, es, foreign, with("jku", "https://evil.example/jwks"))},
		{"an unknown kid", forge(t, es, own, with("kid", "unknown"))},
		{"no kid", forge(t, es, own, with("kid", nil))},
		{"an ID token", forge(t, es, own, with("typ", "JWT"))},
		{"no typ", forge(t, es, own, with("typ", nil))},
		{"an unknown crit", forge(t, es, own, with("crit", []string{"exp"}))},
		{"a changed payload", strings.Replace(genuine, ".", ".A", 1)},
		{"padding", genuine + "="},
		{"four parts", genuine + ".x"},
		{"nothing", ""},
	}
	if err := r.Verify("at+jwt", genuine, &claims{}); err != nil {
		t.Fatalf("the genuine token: %v", err)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if err := r.Verify("at+jwt", test.token, &claims{}); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func TestEveryPurposeHasASecretOfItsOwn(t *testing.T) {
	vault := memstore.New()
	r, again := open(t, vault, ""), open(t, vault, "")
	seen := map[[secretSize]byte]Purpose{{}: "no purpose"}
	for _, purpose := range Purposes() {
		secret := r.Secret(purpose)
		if other, ok := seen[secret]; ok {
			t.Errorf("the secret of %s is that of %s", purpose, other)
		}
		if seen[secret] = purpose; secret != again.Secret(purpose) {
			t.Errorf("another gateway has another secret for %s", purpose)
		}
	}
}

func TestUnknownPurposePanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("it got a secret")
		}
	}()
	open(t, memstore.New(), "").Secret("cookies")
}

// stored changes the ring that the store has.
func stored(t *testing.T, vault *memstore.Store, change func(*ring)) {
	t.Helper()
	err := vault.UpdateDocument(t.Context(), document, func(old []byte) ([]byte, error) {
		var r ring
		if err := json.Unmarshal(old, &r); err != nil {
			return nil, err
		}
		change(&r)
		return json.Marshal(r)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestRingFromBeforeAPurposeGetsItsSecret(t *testing.T) {
	vault := memstore.New()
	before := open(t, vault, "")
	stored(t, vault, func(r *ring) { delete(r.Secrets, PurposeUpstream) })
	after := open(t, vault, "")
	if after.Secret(PurposeUpstream) == [secretSize]byte{} {
		t.Error("it is zero")
	}
	if after.Secret(PurposeCookie) != before.Secret(PurposeCookie) {
		t.Error("another purpose's secret was changed")
	}
	if open(t, vault, "").Secret(PurposeUpstream) != after.Secret(PurposeUpstream) {
		t.Error("it is not kept")
	}
}

func TestDamagedSecretIsRefused(t *testing.T) {
	damaged := map[string][]byte{"zero": make([]byte, secretSize), "short": {1}, "empty": {}, "null": nil}
	for name, secret := range damaged {
		t.Run(name, func(t *testing.T) {
			vault := memstore.New()
			open(t, vault, "")
			stored(t, vault, func(r *ring) { r.Secrets[PurposeCookie] = secret })
			if _, err := Open(t.Context(), vault, ""); err == nil || !strings.Contains(err.Error(), "damaged") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func FuzzVerify(f *testing.F) {
	r, err := Open(context.Background(), memstore.New(), "EdDSA")
	if err != nil {
		f.Fatal(err)
	}
	token, err := r.Sign("at+jwt", claims{Subject: "alice"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(token)
	f.Add("..")
	f.Fuzz(func(t *testing.T, text string) {
		if err := r.Verify("at+jwt", text, &claims{}); err == nil && text != token {
			t.Errorf("%q is accepted beside %q", text, token)
		}
	})
}

// Gateways that are configured with different algorithms do not fill the ring, and each has
// its own in the end, also the one that has to wait.
func TestGatewaysThatDisagreeOnTheAlgorithmDoNotFillTheRing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := memstore.New()
		open(t, shared, "ES256")
		for range 15 {
			open(t, shared, "EdDSA")
			open(t, shared, "ES256")
		}
		last := open(t, shared, "EdDSA")
		if n := len(last.Keys()); n > 1+maxWaiting {
			t.Errorf("%d keys after many starts", n)
		}
		for range 60 {
			time.Sleep(time.Minute)
			if err := last.Maintain(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		keys := last.Keys()
		if n := len(keys); n > 2+maxWaiting || keys[n-1].Algorithm != "EdDSA" || keys[n-1].State != KeySigning {
			t.Errorf("an hour after the last start: %+v", keys)
		}
	})
}
