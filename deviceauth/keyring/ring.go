package keyring

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// The schedule. A key is published before it signs, for as long as caches may
// keep the set without it, and for gateways to read the ring again; it is kept
// after its successor began for as long as a token may live.
const (
	rotateAfter = 90 * 24 * time.Hour
	publishFor  = 10 * time.Minute // the set says max-age=300, and a gateway looks every minute
	keepFor     = 25 * time.Hour   // no token lives longer than a day: deviceauth sees to that

	// TendEvery is how often [Keyring.Tend] wants to be called.
	TendEvery = time.Minute
)

// secretSize suits AES-256 and HMAC-SHA-256.
const secretSize = 32

// A Purpose is what a shared secret is for. No secret has two.
type Purpose string

// The purposes of the shared secrets. A new one belongs into [Purposes] too.
const (
	PurposeRefresh  Purpose = "refresh"  // derives refresh tokens
	PurposeCookie   Purpose = "cookie"   // seals what browsers keep
	PurposeUpstream Purpose = "upstream" // seals refresh tokens of upstreams
)

// Purposes lists the purposes for which every ring has a secret.
func Purposes() []Purpose { return []Purpose{PurposeRefresh, PurposeCookie, PurposeUpstream} }

// ring is the stored form.
type ring struct {
	Keys    []storedKey        `json:"keys"` // in the order in which they sign
	Secrets map[Purpose][]byte `json:"secrets"`

	changed bool
}

type storedKey struct {
	ID        string    `json:"kid"`
	Algorithm string    `json:"alg"`
	Private   []byte    `json:"pkcs8"`
	From      time.Time `json:"from"` // signs from then on, until the next one does
}

// last returns the key that signs, or will.
func (r *ring) last() *storedKey {
	if len(r.Keys) == 0 {
		return nil
	}
	return &r.Keys[len(r.Keys)-1]
}

// add makes a key that signs when it has been published long enough. The very
// first one signs at once: nobody can have a set without it.
func (r *ring) add(algorithm string, now time.Time) error {
	k, err := newKey(algorithm)
	if err != nil {
		return err
	}
	k.From = now
	if last := r.last(); last != nil {
		if last.From.After(now) {
			k.From = last.From // in its turn, so that the order stays one of time
		}
		k.From = k.From.Add(publishFor)
	}
	r.Keys, r.changed = append(r.Keys, k), true
	return nil
}

// drop forgets keys whose last token has ended.
func (r *ring) drop(now time.Time) {
	for len(r.Keys) > 1 && r.Keys[1].From.Add(keepFor).Before(now) {
		r.Keys, r.changed = r.Keys[1:], true
	}
}

// addSecrets makes the secrets that are missing, say because a ring was begun
// before there was their purpose. One that is there and is none, being short or
// zero, is not replaced: what was sealed with it would be lost without a word.
func (r *ring) addSecrets() error {
	if r.Secrets == nil {
		r.Secrets = map[Purpose][]byte{}
	}
	for _, purpose := range Purposes() {
		secret, ok := r.Secrets[purpose]
		if !ok {
			secret, r.changed = make([]byte, secretSize), true
			rand.Read(secret)
			r.Secrets[purpose] = secret
		}
		if len(secret) != secretSize || bytes.Equal(secret, make([]byte, secretSize)) {
			return fmt.Errorf("the keyring's secret %q is damaged: want %d bytes, not all zero", purpose, secretSize)
		}
	}
	return nil
}

// ready parses the keys.
func (r *ring) ready() (*snapshot, error) {
	s := &snapshot{known: map[string]*key{}}
	for _, stored := range r.Keys {
		private, err := x509.ParsePKCS8PrivateKey(stored.Private)
		if err != nil {
			return nil, fmt.Errorf("reading key %s: %w", stored.ID, err)
		}
		signer, ok := private.(crypto.Signer)
		method := jwt.GetSigningMethod(stored.Algorithm)
		if !ok || method == nil {
			return nil, fmt.Errorf("key %s: unknown algorithm %q", stored.ID, stored.Algorithm)
		}
		s.keys = append(s.keys, key{stored.ID, stored.From, method, signer})
	}
	for i := range s.keys {
		s.known[s.keys[i].id] = &s.keys[i]
	}
	var err error
	s.jwks, err = marshalSet(s.keys)
	return s, err
}
