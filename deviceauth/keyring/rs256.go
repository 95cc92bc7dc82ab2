package keyring

import (
	"context"
	"errors"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// rs256 is the default algorithm of ID tokens (OpenID Connect Core §2). Some clients
// accept no other, regardless of the metadata.
const rs256 = "RS256"

// IncludeRS256 lets the ring sign ID tokens with RS256 for clients that accept no
// other algorithm (see [Keyring.SignID]), in addition to the algorithm of [Open]. A
// key for that is created when it is first needed, published in the same set, and
// replaced on the same schedule. The first one signs immediately.
func (k *Keyring) IncludeRS256(ctx context.Context) error {
	k.rs256.Store(true)
	return k.change(ctx, k.maintainRS256)
}

// maintainRS256 creates a key if one is needed and due, and removes those that no
// gateway has needed for longer than a key signs.
func (k *Keyring) maintainRS256(r *ring, now time.Time) (err error) {
	if !k.rs256.Load() {
		if n := len(r.IDKeys); n > 0 && r.IDKeys[n-1].From.Add(rotateAfter+keepFor).Before(now) {
			r.IDKeys, r.changed = nil, true
		}
		return nil
	}
	n := len(r.IDKeys)
	missing := n == 0 && (r.last().Algorithm != rs256 || r.last().From.After(now)) // else the ring's own key is used
	if missing || n > 0 && r.IDKeys[n-1].From.Add(rotateAfter).Before(now) {
		r.IDKeys, err = beginKey(r.IDKeys, rs256, now)
		r.changed = true
	}
	return err
}

// rotateRS256 creates a new key ahead of schedule, as [Keyring.Rotate] does.
func (k *Keyring) rotateRS256(r *ring, now time.Time) (err error) {
	if n := len(r.IDKeys); k.rs256.Load() && n > 0 && !r.IDKeys[n-1].From.After(now) {
		r.IDKeys, err = beginKey(r.IDKeys, rs256, now)
		r.changed = true
	}
	return err
}

// SignID implements [deviceauth.Signer]. An empty algorithm is that of the ring. If
// there is no RS256 key it returns an error instead of a signature with another
// algorithm, which the client would refuse.
func (k *Keyring) SignID(algorithm string, claims any) (string, error) {
	s, now := k.current.Load(), time.Now()
	signing := s.signing(now)
	switch {
	case algorithm == "" || algorithm == signing.method.Alg():
	case algorithm == rs256 && len(s.idKeys) > 0:
		signing = currentKey(s.idKeys, now)
	default:
		return "", errors.New("signing an ID token: the keyring has no key for " + algorithm)
	}
	return signing.sign(deviceauth.TypeID, claims)
}
