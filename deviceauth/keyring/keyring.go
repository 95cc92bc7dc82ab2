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
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// document is the name under which a vault keeps the ring.
const document = "keyring"

// A Keyring is a [deviceauth.Signer] with the keys of a vault. Open makes one.
// It is safe for concurrent use.
type Keyring struct {
	vault     deviceauth.Vault
	algorithm string
	secrets   map[Purpose][]byte
	changing  sync.Mutex               // orders changes as the vault does
	now       atomic.Pointer[snapshot] // as last read from the vault
}

// A snapshot is the ring made ready for use.
type snapshot struct {
	keys  []key // in the order in which they sign
	known map[string]*key
	jwks  []byte
}

// key is a stored key made ready.
type key struct {
	id      string
	from    time.Time
	method  jwt.SigningMethod
	private crypto.Signer
}

var _ deviceauth.Signer = (*Keyring)(nil)

// Open reads the ring from a vault and makes what is missing: a signing key
// for the algorithm (ES256, EdDSA or RS256; empty: ES256) and the secrets. A
// new algorithm begins like any new key, after it has been published.
func Open(ctx context.Context, vault deviceauth.Vault, algorithm string) (*Keyring, error) {
	if algorithm == "" {
		algorithm = "ES256"
	}
	if err := CheckAlgorithm(algorithm); err != nil {
		return nil, err
	}
	k := &Keyring{vault: vault, algorithm: algorithm}
	return k, k.change(ctx, func(r *ring, now time.Time) error {
		if err := r.addSecrets(); err != nil {
			return err
		}
		if last := r.last(); last == nil || last.Algorithm != algorithm {
			return r.add(algorithm, now)
		}
		return nil
	})
}

// Tend reads what other gateways changed, begins a new key where that is due,
// and drops keys that no living token needs. Whoever opened the ring calls it
// every [TendEvery].
func (k *Keyring) Tend(ctx context.Context) error {
	return k.change(ctx, func(r *ring, now time.Time) error {
		r.drop(now)
		if r.last().From.Add(rotateAfter).Before(now) {
			return r.add(k.algorithm, now)
		}
		return nil
	})
}

// Rotate begins a new key now, ahead of the schedule. It signs as soon as
// everybody had the time to see it published. One that was begun and does not
// sign yet is as good as a new one.
func (k *Keyring) Rotate(ctx context.Context) error {
	return k.change(ctx, func(r *ring, now time.Time) error {
		if last := r.last(); last.From.After(now) && last.Algorithm == k.algorithm {
			return nil
		}
		return r.add(k.algorithm, now)
	})
}

// change changes the stored ring atomically and uses what became of it. All
// gateways do the same to the same document, so they agree.
func (k *Keyring) change(ctx context.Context, step func(*ring, time.Time) error) error {
	k.changing.Lock()
	defer k.changing.Unlock()
	var r ring
	err := k.vault.Change(ctx, document, func(old []byte) ([]byte, error) {
		r = ring{}
		if old != nil {
			if err := json.Unmarshal(old, &r); err != nil {
				return nil, fmt.Errorf("reading the keyring: %w", err)
			}
		}
		if err := step(&r, time.Now().UTC()); err != nil || !r.changed {
			return old, err
		}
		return json.Marshal(r)
	})
	if err != nil {
		return err
	}
	ready, err := r.ready()
	if err != nil {
		return err
	}
	k.now.Store(ready)
	if k.secrets == nil {
		k.secrets = r.Secrets // never change; set by Open alone
	}
	return nil
}

// signing returns the key whose turn it is.
func (s *snapshot) signing(now time.Time) *key {
	for i := len(s.keys) - 1; i > 0; i-- {
		if !now.Before(s.keys[i].from) {
			return &s.keys[i]
		}
	}
	return &s.keys[0]
}

// Secret returns the 32 random bytes that all gateways share for a purpose. It
// panics for a purpose that is not one of [Purposes]: a caller must never get a
// key that is all zeros.
func (k *Keyring) Secret(purpose Purpose) [secretSize]byte {
	secret, ok := k.secrets[purpose]
	if !ok {
		panic(fmt.Sprintf("keyring: there is no secret for the purpose %q", purpose))
	}
	return [secretSize]byte(secret)
}

// JWKS returns the public keys as a JSON Web Key Set (RFC 7517 §5): those that
// have signed, the one that signs and the one that will.
func (k *Keyring) JWKS() []byte { return k.now.Load().jwks }

// Algorithms lists what tokens are signed with, for the metadata.
func (k *Keyring) Algorithms() (list []string) {
	s := k.now.Load()
	signing := s.signing(time.Now())
	list = []string{signing.method.Alg()}
	if next := s.keys[len(s.keys)-1].method.Alg(); next != list[0] {
		list = append(list, next)
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

// Keys lists the keys, the oldest first.
func (k *Keyring) Keys() (list []Key) {
	s, now := k.now.Load(), time.Now()
	signing := s.signing(now)
	for i := range s.keys {
		state := KeyRetired
		switch {
		case s.keys[i].id == signing.id:
			state = KeySigning
		case s.keys[i].from.After(now):
			state = KeyNext
		}
		list = append(list, Key{s.keys[i].id, s.keys[i].method.Alg(), state, s.keys[i].from})
	}
	return list
}
