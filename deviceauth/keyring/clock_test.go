package keyring

import (
	"encoding/json"
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
		token, err := k.Sign("at+jwt", claims{Subject: "alice"})
		if err != nil {
			t.Fatal(err)
		}
		ahead := time.Now().UTC().Add(100 * 24 * time.Hour)
		err = k.change(t.Context(), func(r *ring, _ time.Time) error { return r.add("ES256", ahead) })
		if err != nil {
			t.Fatal(err)
		}
		if err := k.Maintain(t.Context()); err != nil {
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

// A gateway that begins with a clock of years ago, as a small machine without a battery
// does, leaves the keys of the others alone: they would begin another each minute.
func TestClockThatIsFarBehindLeavesTheKeysAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		vault := memstore.New()
		k := open(t, vault, "")
		if err := k.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		r := reads(t, vault)
		if r.settle(time.Now().AddDate(-3, 0, 0)); r.changed {
			t.Errorf("the keys sign from %v and %v", r.Keys[0].From, r.Keys[1].From)
		}
	})
}

// A ring that was begun as a whole while the clock was ahead is rotated when somebody
// says so: what an operator asks for is not put off until that day.
//
// protocol 27
func TestRingThatIsAllAheadIsRotatedByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		vault := memstore.New()
		k := open(t, vault, "")
		r := reads(t, vault)
		ahead := time.Now().AddDate(0, 0, 100)
		r.Keys[0].From = ahead
		if err := r.add("ES256", ahead); err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		puts(t, vault, text)
		if err := k.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(publishFor + time.Second)
		if keys := k.Keys(); keys[len(keys)-1].State != KeySigning {
			t.Errorf("the new key does not sign: %+v", keys)
		}
	})
}
