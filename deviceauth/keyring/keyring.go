// Package keyring signs. It keeps the signing keys of one issuer and the
// secrets that its gateways share, makes them on first use, and knows nothing
// of grants: what a token says and whether that is enough is decided in
// package deviceauth.
package keyring

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// document is the name under which a vault keeps the ring.
const document = "keyring"

// secretSize suits AES-256 and HMAC-SHA-256.
const secretSize = 32

// ring is the stored form.
type ring struct {
	Keys    []storedKey       `json:"keys"`    // the newest first
	Secrets map[string][]byte `json:"secrets"` // by purpose
}

type storedKey struct {
	ID        string    `json:"kid"`
	Algorithm string    `json:"alg"`
	Private   []byte    `json:"pkcs8"`
	Made      time.Time `json:"made"`
}

// A Keyring is a [deviceauth.Signer] with the keys of a vault. Open makes one.
// It is safe for concurrent use.
type Keyring struct {
	signing key
	known   map[string]key
	secrets map[string][]byte
	jwks    []byte
}

// key is a stored key made ready.
type key struct {
	id      string
	method  jwt.SigningMethod
	private crypto.Signer
}

var _ deviceauth.Signer = (*Keyring)(nil)

// Purposes of the shared secrets.
const (
	PurposeRefresh = "refresh" // derives refresh tokens
	PurposeCookie  = "cookie"  // seals what browsers keep
)

// Open reads the ring from a vault and makes what is missing: a signing key
// for the algorithm (ES256, EdDSA or RS256; empty: ES256) and the secrets.
// Keys of an earlier algorithm are kept, to verify what they signed.
func Open(ctx context.Context, vault deviceauth.Vault, algorithm string) (*Keyring, error) {
	if algorithm == "" {
		algorithm = "ES256"
	}
	if err := CheckAlgorithm(algorithm); err != nil {
		return nil, err
	}
	var r ring
	err := vault.Change(ctx, document, func(old []byte) ([]byte, error) {
		r = ring{}
		if old != nil {
			if err := json.Unmarshal(old, &r); err != nil {
				return nil, fmt.Errorf("reading the keyring: %w", err)
			}
		}
		added, err := r.complete(algorithm)
		if err != nil || !added {
			return old, err
		}
		return json.Marshal(r)
	})
	if err != nil {
		return nil, err
	}
	return r.ready(algorithm)
}

// complete makes what a ring lacks.
func (r *ring) complete(algorithm string) (added bool, err error) {
	if !slices.ContainsFunc(r.Keys, func(k storedKey) bool { return k.Algorithm == algorithm }) {
		k, err := newKey(algorithm)
		if err != nil {
			return false, err
		}
		r.Keys, added = slices.Insert(r.Keys, 0, k), true
	}
	for _, purpose := range []string{PurposeRefresh, PurposeCookie} {
		if r.Secrets[purpose] == nil {
			if r.Secrets == nil {
				r.Secrets = map[string][]byte{}
			}
			r.Secrets[purpose], added = make([]byte, secretSize), true
			rand.Read(r.Secrets[purpose])
		}
	}
	return added, nil
}

// ready parses the keys and picks the newest of the algorithm to sign with.
func (r *ring) ready(algorithm string) (*Keyring, error) {
	ring := &Keyring{known: map[string]key{}, secrets: r.Secrets}
	for _, stored := range slices.Backward(r.Keys) {
		private, err := x509.ParsePKCS8PrivateKey(stored.Private)
		if err != nil {
			return nil, fmt.Errorf("reading key %s: %w", stored.ID, err)
		}
		signer, ok := private.(crypto.Signer)
		method := jwt.GetSigningMethod(stored.Algorithm)
		if !ok || method == nil {
			return nil, fmt.Errorf("key %s: unknown algorithm %q", stored.ID, stored.Algorithm)
		}
		k := key{stored.ID, method, signer}
		ring.known[k.id] = k
		if stored.Algorithm == algorithm {
			ring.signing = k
		}
	}
	var err error
	ring.jwks, err = marshalSet(r.Keys, ring.known)
	return ring, err
}

// Secret returns the 32 bytes that all gateways share for a purpose.
func (r *Keyring) Secret(purpose string) (secret [secretSize]byte) {
	copy(secret[:], r.secrets[purpose])
	return secret
}

// JWKS returns the public keys as a JSON Web Key Set (RFC 7517 §5).
func (r *Keyring) JWKS() []byte { return r.jwks }

// Algorithms lists what tokens are signed with, for the metadata.
func (r *Keyring) Algorithms() []string { return []string{r.signing.method.Alg()} }
