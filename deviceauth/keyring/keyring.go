// Package keyring signs tokens. It stores the signing keys of an issuer and the
// secrets that its gateways share, creates them on first use, and replaces keys on
// schedule. It knows nothing about grants: package deviceauth decides which claims a
// token has and which are accepted.
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

// document is the name of the ring's document in the store.
const document = "keyring"

// A Keyring is a [deviceauth.Signer] with the keys of the store, which Open returns.
// It is safe for concurrent use.
type Keyring struct {
	documents deviceauth.Documents
	algorithm string
	changing  sync.Mutex               // keeps changes in the order of the store
	current   atomic.Pointer[snapshot] // as last read from the store
	rs256     atomic.Bool              // some ID tokens are signed with RS256, regardless of algorithm
	postponed atomic.Bool              // a key for algorithm is still to be created, see useAlgorithm
	lost      func(reason string)      // called when the store has lost the ring; may be nil
}

// A snapshot is a ring with parsed keys. It always has keys and secrets, so it can be
// used to sign.
type snapshot struct {
	ring   ring
	keys   []key // in the order in which they sign
	idKeys []key // the same, for ID tokens with RS256
	known  map[string]*key
	jwks   []byte
}

// key is a parsed key.
type key struct {
	id      string
	from    time.Time
	method  jwt.SigningMethod
	private crypto.Signer
}

var _ deviceauth.Signer = (*Keyring)(nil)

// Open reads the ring from the store and creates what is missing: a signing key for
// the algorithm (ES256, EdDSA or RS256; empty: ES256) and the secrets. A key for a
// new algorithm signs, like any new key, only after it has been published for some
// time.
func Open(ctx context.Context, documents deviceauth.Documents, algorithm string) (*Keyring, error) {
	if algorithm == "" {
		algorithm = "ES256"
	}
	if err := CheckAlgorithm(algorithm); err != nil {
		return nil, err
	}
	k := &Keyring{documents: documents, algorithm: algorithm}
	if err := k.change(ctx, k.useAlgorithm); err != nil {
		return nil, err
	}
	return k, nil
}

// maxWaiting is how many keys may wait for their turn to sign when one for another
// algorithm is created.
const maxWaiting = 2

// useAlgorithm creates a key for the algorithm unless the last key is one. Gateways with
// different algorithms would each create one at every start, so beyond [maxWaiting] it is
// postponed until one of those that wait signs.
func (k *Keyring) useAlgorithm(r *ring, now time.Time) error {
	last := r.last()
	postponed := last != nil && last.Algorithm != k.algorithm && r.waiting(now) >= maxWaiting
	k.postponed.Store(postponed)
	if postponed || last != nil && last.Algorithm == k.algorithm {
		return nil
	}
	return r.add(k.algorithm, now)
}

// OnLoss sets a function that is called when the store has lost the ring, or has
// another one, with a description of what was done, for the operator. It must be
// called before [Keyring.Maintain].
func (k *Keyring) OnLoss(tell func(reason string)) { k.lost = tell }

// Maintain loads changes of other gateways, creates a new key if that is due, and
// drops keys that no valid token needs. It must be called every [MaintainEvery].
func (k *Keyring) Maintain(ctx context.Context) error {
	postponed := k.postponed.Load()
	err := k.change(ctx, func(r *ring, now time.Time) error {
		r.drop(now)
		if err := k.maintainRS256(r, now); err != nil {
			return err
		}
		if postponed {
			return k.useAlgorithm(r, now)
		}
		if r.last().From.Add(rotateAfter).Before(now) {
			return r.add(k.algorithm, now)
		}
		return nil
	})
	if err != nil && postponed {
		k.postponed.Store(true) // nothing was stored
	}
	return err
}

// Rotate creates a new key ahead of schedule. It signs as soon as every verifier has
// had the time to fetch it. If there is already a new key that does not sign yet, no
// other one is created.
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

// change changes the stored ring atomically and uses the result. All gateways do the
// same with the same document, so they agree. If the store has lost the document, it
// is written again as it was last read. If another gateway has created a new ring
// since, its secrets are used, and our keys are kept to verify tokens that they
// signed.
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
		if known := k.current.Load(); known != nil {
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
	k.current.Store(ready)
	if loss != "" && k.lost != nil {
		k.lost(loss)
	}
	return nil
}

// signing returns the key that signs now.
func (s *snapshot) signing(now time.Time) *key { return currentKey(s.keys, now) }

// currentKey returns the key of a list that signs now.
func currentKey(keys []key, now time.Time) *key {
	for i := len(keys) - 1; i > 0; i-- {
		if !now.Before(keys[i].from) {
			return &keys[i]
		}
	}
	return &keys[0]
}

// Source returns a function that returns the current [Keyring.Secret]. Like that, it
// panics for an unknown purpose.
func (k *Keyring) Source(purpose Purpose) func() [secretSize]byte {
	k.Secret(purpose)
	return func() [secretSize]byte { return k.Secret(purpose) }
}

// Secret returns the current 32 random bytes that all gateways share for a purpose.
// They change only if the store lost the ring and a gateway created another. It
// panics for a purpose that is not one of [Purposes]: a caller must never get a key
// that is all zeros.
func (k *Keyring) Secret(purpose Purpose) [secretSize]byte {
	secret, ok := k.current.Load().ring.Secrets[purpose]
	if !ok {
		panic(fmt.Sprintf("keyring: there is no secret for the purpose %q", purpose))
	}
	return [secretSize]byte(secret)
}

// JWKS returns the public keys as a JWK Set (RFC 7517 §5): those that have signed,
// the one that signs and the next one.
func (k *Keyring) JWKS() []byte { return k.current.Load().jwks }

// Algorithms returns the signing algorithms of ID tokens, for the metadata.
func (k *Keyring) Algorithms() (list []string) {
	s := k.current.Load()
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

// A Key is the public description of a key.
type Key struct {
	ID        string    `json:"kid"`
	Algorithm string    `json:"alg"`
	State     KeyState  `json:"state"`
	From      time.Time `json:"signs_from"`
}

// A KeyState is the state of a key.
type KeyState string

// The states of a key.
const (
	KeyNext    KeyState = "next"    // published, but does not sign yet
	KeySigning KeyState = "signing" // signs
	KeyRetired KeyState = "retired" // verifies what it signed
)

// Keys returns the keys, the oldest first; those that only sign ID tokens come last.
func (k *Keyring) Keys() (list []Key) {
	s, now := k.current.Load(), time.Now()
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
