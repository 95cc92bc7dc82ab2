package devicecheck

import "testing"

// One member that is secret is enough, whatever the key calls itself.
func TestEachSecretMemberOfAKeyIsReported(t *testing.T) {
	t.Parallel()
	for _, member := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
		r := &run{server: &document{}, keys: []jwk{{"kty": "RSA", "kid": "1", "n": "x", "e": "AQAB"}}}
		if got := r.keysSecret(); got.status != Pass {
			t.Errorf("without: %+v", got)
		}
		r.keys[0][member] = "x"
		if got := r.keysSecret(); got.status != Fail {
			t.Errorf("%s: %+v", member, got)
		}
	}
}

func TestNoKeysAreNotCalledNamed(t *testing.T) {
	t.Parallel()
	if got := (&run{}).keysNamed(); got.status != Skipped {
		t.Errorf("%+v", got)
	}
}
