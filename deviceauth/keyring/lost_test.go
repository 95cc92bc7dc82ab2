package keyring

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/memstore"
)

// puts has the store hold something else than the ring.
func puts(t *testing.T, vault *memstore.Store, text []byte) {
	t.Helper()
	err := vault.UpdateDocument(t.Context(), document, func([]byte) ([]byte, error) { return text, nil })
	if err != nil {
		t.Fatal(err)
	}
}

// forgets has the store lose the ring.
func forgets(t *testing.T, vault *memstore.Store) {
	t.Helper()
	if err := vault.PutDocument(t.Context(), document, nil, time.Time{}); err != nil {
		t.Fatal(err)
	}
}

// Whatever the store says, a gateway goes on with the keys that it knows; what is
// lost is written back, and told.
//
// protocol 27
func TestRingThatIsLostIsWrittenBack(t *testing.T) {
	for name, lose := range map[string]func(*testing.T, *memstore.Store){
		"forgotten": forgets,
		"null":      func(t *testing.T, v *memstore.Store) { puts(t, v, []byte("null")) },
		"empty":     func(t *testing.T, v *memstore.Store) { puts(t, v, []byte("{}")) },
		"no keys":   func(t *testing.T, v *memstore.Store) { puts(t, v, []byte(`{"keys":[],"secrets":{}}`)) },
	} {
		t.Run(name, func(t *testing.T) {
			vault := memstore.New()
			k := open(t, vault, "")
			var warnings []string
			k.OnLoss(func(reason string) { warnings = append(warnings, reason) })
			token, err := k.Sign("at+jwt", claims{Subject: "alice"})
			if err != nil {
				t.Fatal(err)
			}
			secret := k.Secret(PurposeRefresh)
			lose(t, vault)
			for range 2 {
				if err := k.Maintain(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if len(warnings) != 1 || !strings.Contains(warnings[0], "lost the signing keys") {
				t.Errorf("told: %q", warnings)
			}
			other := open(t, vault, "")
			if err := other.Verify("at+jwt", token, &claims{}); err != nil {
				t.Errorf("another gateway: %v", err)
			}
			if k.Secret(PurposeRefresh) != secret || other.Secret(PurposeRefresh) != secret {
				t.Error("the secret is another one")
			}
		})
	}
}

// A ring that makes no sense is a fault, and the gateway goes on with its own.
func TestRingThatCannotBeReadEndsNothing(t *testing.T) {
	for _, text := range []string{"", "nonsense", "[]", `{"keys":[{"kid":"x"}]}`,
		`{"keys":[{"kid":"x","alg":"none","pkcs8":"AAAA"}]}`, `{"keys":null,"secrets":{"refresh":"AAAA"}}`} {
		vault := memstore.New()
		k := open(t, vault, "")
		puts(t, vault, []byte(text))
		for range 2 {
			k.Maintain(t.Context())
			k.Rotate(t.Context())
			token, err := k.Sign("at+jwt", claims{Subject: "alice"})
			if err != nil {
				t.Errorf("%q: %v", text, err)
			}
			if err := k.Verify("at+jwt", token, &claims{}); err != nil || len(k.Keys()) == 0 || len(k.JWKS()) == 0 ||
				len(k.Algorithms()) == 0 {
				t.Errorf("%q: %v", text, err)
			}
		}
		if k, err := Open(t.Context(), vault, ""); k != nil && err != nil {
			t.Errorf("%q: a keyring and an error: %v", text, err)
		}
	}
}

// Where another gateway began anew before this one wrote back, all follow its
// secrets, and what this one signed stays good as long as tokens live.
//
// protocol 27
func TestRingThatAnotherGatewayBeganIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		vault := memstore.New()
		k := open(t, vault, "")
		source := k.Source(PurposeRefresh)
		before := source()
		token, err := k.Sign("at+jwt", claims{Subject: "alice"})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		forgets(t, vault)
		anew := open(t, vault, "")
		if err := k.Maintain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if source() == before || source() != anew.Secret(PurposeRefresh) {
			t.Error("the secrets do not follow")
		}
		if err := anew.Maintain(t.Context()); err != nil {
			t.Fatal(err)
		}
		for name, gateway := range map[string]*Keyring{"this one": k, "the other one": anew,
			"a third": open(t, vault, "")} {
			if err := gateway.Verify("at+jwt", token, &claims{}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			theirs, err := gateway.Sign("at+jwt", claims{Subject: "bob"})
			if err != nil || k.Verify("at+jwt", theirs, &claims{}) != nil {
				t.Errorf("%s signs what this one does not know: %v", name, err)
			}
		}
		time.Sleep(26 * time.Hour)
		k.Maintain(t.Context())
		var set struct{ Keys []json.RawMessage }
		if err := json.Unmarshal(k.JWKS(), &set); err != nil || len(set.Keys) != 1 {
			t.Errorf("%d keys are left, %v", len(set.Keys), err)
		}
	})
}

// reads returns what the store has under the ring's name.
func reads(t *testing.T, vault *memstore.Store) (r ring) {
	t.Helper()
	text, err := vault.LoadDocument(t.Context(), document)
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Secrets that are lost from a ring whose keys are there come back as they were, one
// by one, and it is told.
func TestSecretsThatAreLostAreWrittenBack(t *testing.T) {
	for name, lose := range map[string]func(*ring){
		"all, null":  func(r *ring) { r.Secrets = nil },
		"all, empty": func(r *ring) { clear(r.Secrets) },
		"one":        func(r *ring) { delete(r.Secrets, PurposeCookie) },
	} {
		t.Run(name, func(t *testing.T) {
			vault := memstore.New()
			k := open(t, vault, "")
			var warnings []string
			k.OnLoss(func(reason string) { warnings = append(warnings, reason) })
			want := k.Secret(PurposeCookie)
			r := reads(t, vault)
			lose(&r)
			text, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			puts(t, vault, text)
			for range 2 {
				if err := k.Maintain(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if k.Secret(PurposeCookie) != want || open(t, vault, "").Secret(PurposeCookie) != want {
				t.Error("the secret is another one")
			}
			if len(warnings) != 1 || !strings.Contains(warnings[0], "lost the secrets") {
				t.Errorf("told: %q", warnings)
			}
		})
	}
}

// A Redis that came back with what it had on its disk days ago has a ring that lacks
// the key that signs. That key comes back; one whose last token has ended does not.
//
// protocol 27
func TestRingOfAnEarlierDayGetsItsKeysBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		vault := memstore.New()
		k := open(t, vault, "")
		var warnings []string
		k.OnLoss(func(reason string) { warnings = append(warnings, reason) })
		earlier, err := vault.LoadDocument(t.Context(), document)
		if err != nil {
			t.Fatal(err)
		}
		if err := k.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		token, err := k.Sign("at+jwt", claims{Subject: "alice"})
		if err != nil {
			t.Fatal(err)
		}
		puts(t, vault, earlier)
		for range 2 {
			if err := k.Maintain(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		for name, gateway := range map[string]*Keyring{"this gateway": k, "another": open(t, vault, "")} {
			if err := gateway.Verify("at+jwt", token, &claims{}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if keys := gateway.Keys(); len(keys) != 2 || keys[1].State != KeySigning {
				t.Errorf("%s: %+v", name, keys)
			}
		}
		if len(warnings) != 1 || !strings.Contains(warnings[0], "lost signing keys") {
			t.Errorf("told: %q", warnings)
		}
		time.Sleep(keepFor) // the first key has had its time, by every clock
		if err := k.Maintain(t.Context()); err != nil || len(k.Keys()) != 1 {
			t.Errorf("%v, %+v", err, k.Keys())
		}
	})
}

// A gateway whose clock is a little ahead drops a key a little early. One whose clock
// is right brings nothing back for that, and calls it no loss.
func TestKeyThatHasHadItsTimeIsNoLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		vault := memstore.New()
		k := open(t, vault, "")
		k.OnLoss(func(reason string) { t.Errorf("told: %s", reason) })
		if err := k.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(publishFor + keepFor - 5*time.Minute)
		if err := k.Maintain(t.Context()); err != nil || len(k.Keys()) != 2 {
			t.Fatalf("%v, %+v", err, k.Keys())
		}
		r := reads(t, vault)
		r.drop(time.Now().Add(10 * time.Minute))
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		puts(t, vault, text)
		if err := k.Maintain(t.Context()); err != nil || len(k.Keys()) != 1 {
			t.Errorf("%v, %+v", err, k.Keys())
		}
	})
}
