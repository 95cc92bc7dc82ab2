// Package keyring signs. It keeps the signing keys of one issuer and the
// secrets that its gateways share, makes them on first use, replaces keys on
// schedule, and knows nothing of grants: what a token says and whether that is
// enough is decided in package deviceauth.
package keyring

import (
	"context"
	"crypto"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// document is the name under which the store keeps the ring.
const document = "keyring"

// A Keyring is a [deviceauth.Signer] with the keys of the store. Open makes one.
// It is safe for concurrent use.
type Keyring struct {
	documents deviceauth.Documents
	algorithm string
	changing  sync.Mutex               // orders changes as the store does
	now       atomic.Pointer[snapshot] // as last read from the store
	rs256     atomic.Bool              // some ID tokens are signed with RS256, whatever the algorithm is
	lost      func(reason string)      // told when the store has lost the ring; may be nil
}

// A snapshot is the ring made ready for use. A ring without keys or secrets makes
// no snapshot, so a reader of one can sign.
type snapshot struct {
	ring   ring
	keys   []key // in the order in which they sign
	idKeys []key // the same, for ID tokens with RS256
	known  map[string]*key
	jwks   []byte
}

// key is a stored key made ready.
type key struct {
	id      string
	from    time.Time
	method  jwt.SigningMethod
	private crypto.Signer
}

var _ deviceauth.Signer = (*Keyring)(nil)

// Open reads the ring from the store and makes what is missing: a signing key
// for the algorithm (ES256, EdDSA or RS256; empty: ES256) and the secrets. A
// new algorithm begins like any new key, after it has been published.
func Open(ctx context.Context, documents deviceauth.Documents, algorithm string) (*Keyring, error) {
	if algorithm == "" {
		algorithm = "ES256"
	}
	if err := CheckAlgorithm(algorithm); err != nil {
		return nil, err
	}
	k := &Keyring{documents: documents, algorithm: algorithm}
	err := k.change(ctx, func(r *ring, now time.Time) error {
		if last := r.last(); last == nil || last.Algorithm != algorithm {
			return r.add(algorithm, now)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return k, nil
}

// OnLoss has a function called when the store has lost the ring, or has another
// one, with what was done about it: an operator should know. It is to be set
// before [Keyring.Maintain] is called.
func (k *Keyring) OnLoss(tell func(reason string)) { k.lost = tell }

// Maintain reads what other gateways changed, begins a new key where that is due,
// and drops keys that no living token needs. The owner of the ring calls it
// every [MaintainEvery].
func (k *Keyring) Maintain(ctx context.Context) error {
	return k.change(ctx, func(r *ring, now time.Time) error {
		r.drop(now)
		if err := k.maintainRS256(r, now); err != nil {
			return err
		}
		if r.last().From.Add(rotateAfter).Before(now) {
			return r.add(k.algorithm, now)
		}
		return nil
	})
}

// Rotate begins a new key now, ahead of the schedule. It signs as soon as
// every verifier had the time to see it published. One that was begun and does not
// sign yet is as good as a new one.
func (k *Keyring) Rotate(ctx context.Context) error {
	return k.change(ctx, func(r *ring, now time.Time) error {
		r.hasten(now)
		if err := k.rotateRS256(r, now); err != nil {
			return err
		}
		if last := r.last(); last.From.After(now) && last.Algorithm == k.algorithm {
			return nil
		}
		return r.add(k.algorithm, now)
	})
}

// change changes the stored ring atomically and uses what became of it. All
// gateways do the same to the same document, so they agree. A document that the
// vault has lost is written anew, as it was last read; of one that another gateway
// began since, the secrets count, and our keys stay to verify what they signed.
func (k *Keyring) change(ctx context.Context, step func(*ring, time.Time) error) error {
	k.changing.Lock()
	defer k.changing.Unlock()
	var ready *snapshot
	var loss string
	err := k.documents.UpdateDocument(ctx, document, func(old []byte) ([]byte, error) {
		now := time.Now().UTC()
		r, err := decodeRing(old)
		if err != nil {
			return nil, err
		}
		if known := k.now.Load(); known != nil {
			loss = r.recover(&known.ring, now)
		}
		r.settle(now)
		if err := r.addSecrets(); err != nil {
			return nil, err
		}
		if err := step(&r, now); err != nil {
			return nil, err
		}
		if ready, err = r.ready(); err != nil || !r.changed {
			return old, err
		}
		return json.Marshal(r)
	})
	if err != nil {
		return err
	}
	k.now.Store(ready)
	if loss != "" && k.lost != nil {
		k.lost(loss)
	}
	return nil
}

// signing returns the key whose turn it is.
func (s *snapshot) signing(now time.Time) *key { return currentKey(s.keys, now) }

// currentKey returns the one of some keys whose turn it is.
func currentKey(keys []key, now time.Time) *key {
	for i := len(keys) - 1; i > 0; i-- {
		if !now.Before(keys[i].from) {
			return &keys[i]
		}
	}
	return &keys[0]
}

// Source returns what [Keyring.Secret] returns, whenever it is asked. It panics as
// that does.
func (k *Keyring) Source(purpose Purpose) func() [secretSize]byte {
	k.Secret(purpose)
	return func() [secretSize]byte { return k.Secret(purpose) }
}

// Secret returns the 32 random bytes that all gateways share for a purpose, as
// they are now: another one where the store lost the ring and a gateway began
// another. It panics for a purpose that is not one of [Purposes]: a caller must
// never get a key that is all zeros.
func (k *Keyring) Secret(purpose Purpose) [secretSize]byte {
	secret, ok := k.now.Load().ring.Secrets[purpose]
	if !ok {
		panic(fmt.Sprintf("keyring: there is no secret for the purpose %q", purpose))
	}
	return [secretSize]byte(secret)
}

// JWKS returns the public keys as a JSON Web Key Set (RFC 7517 §5): those that
// have signed, the one that signs and the one that will.
func (k *Keyring) JWKS() []byte { return k.now.Load().jwks }

// Algorithms lists what ID tokens are signed with, for the metadata.
func (k *Keyring) Algorithms() (list []string) {
	s := k.now.Load()
	signing := s.signing(time.Now())
	list = []string{signing.method.Alg()}
	if next := s.keys[len(s.keys)-1].method.Alg(); next != list[0] {
		list = append(list, next)
	}
	if k.rs256.Load() && !slices.Contains(list, rs256) {
		list = append(list, rs256)
	}
	return list
}

// A Key is what may be said of a key.
type Key struct {
	ID        string    `json:"kid"`
	Algorithm string    `json:"alg"`
	State     KeyState  `json:"state"`
	From      time.Time `json:"signs_from"`
}

// A KeyState is where in its life a key is.
type KeyState string

// The states of a key.
const (
	KeyNext    KeyState = "next"    // published, and does not sign yet
	KeySigning KeyState = "signing" // signs
	KeyRetired KeyState = "retired" // verifies what it signed
)

// Keys lists the keys, the oldest first; those of ID tokens alone come last.
func (k *Keyring) Keys() (list []Key) {
	s, now := k.now.Load(), time.Now()
	for _, keys := range [][]key{s.keys, s.idKeys} {
		for i := range keys {
			state := KeyRetired
			switch {
			case keys[i].id == currentKey(keys, now).id:
				state = KeySigning
			case keys[i].from.After(now):
				state = KeyNext
			}
			list = append(list, Key{ID: keys[i].id, Algorithm: keys[i].method.Alg(), State: state, From: keys[i].from})
		}
	}
	return list
}
