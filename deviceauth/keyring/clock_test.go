package keyring

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/memstore"
)

// A clock that was months ahead for a minute began a key for that day. Back in time,
// keys are begun and tokens signed as ever.
//
// protocol 27
func TestClockThatWasAheadHoldsNoKeyBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		vault := memstore.New()
		k := open(t, vault, "")
		token, err := k.Sign("at+jwt", claims{"alice"})
		if err != nil {
			t.Fatal(err)
		}
		ahead := time.Now().UTC().Add(100 * 24 * time.Hour)
		err = k.change(t.Context(), func(r *ring, _ time.Time) error { return r.add("ES256", ahead) })
		if err != nil {
			t.Fatal(err)
		}
		if err := k.Tend(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, key := range k.Keys() {
			if key.From.After(time.Now().Add(maxAhead)) {
				t.Errorf("%+v", key)
			}
		}
		time.Sleep(publishFor + time.Second)
		before := len(k.Keys())
		if err := k.Rotate(t.Context()); err != nil || len(k.Keys()) != before+1 {
			t.Errorf("rotating: %v, %+v", err, k.Keys())
		}
		time.Sleep(publishFor + time.Second)
		if keys := k.Keys(); keys[len(keys)-1].State != KeySigning {
			t.Errorf("the new key does not sign: %+v", keys)
		}
		if err := k.Verify("at+jwt", token, &claims{}); err != nil {
			t.Error(err)
		}
	})
}
