package keyring

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/go-jose/go-jose/v4"
)

// makers generate keys by algorithm (RFC 7518 §3.1, RFC 8037 §3.1).
var makers = map[string]func() (crypto.Signer, error){
	"ES256": func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) },
	"EdDSA": func() (crypto.Signer, error) {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	},
	"RS256": func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) },
}

// CheckAlgorithm checks the name of a signing algorithm.
func CheckAlgorithm(name string) error {
	if makers[name] == nil {
		return fmt.Errorf("signing %q: want ES256, EdDSA or RS256", name)
	}
	return nil
}

// newKey generates a key for an algorithm. The private key is stored as PKCS #8 (RFC
// 5958), which contains its algorithm, and the key's id is its thumbprint.
func newKey(algorithm string) (storedKey, error) {
	private, err := makers[algorithm]()
	if err != nil {
		return storedKey{}, fmt.Errorf("making a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return storedKey{}, fmt.Errorf("encoding a key: %w", err)
	}
	// The thumbprint (RFC 7638) is derived from the key, so that two gateways cannot
	// give the same id to two keys.
	sum, err := (&jose.JSONWebKey{Key: private.Public()}).Thumbprint(crypto.SHA256)
	if err != nil {
		return storedKey{}, fmt.Errorf("naming a key: %w", err)
	}
	id := base64.RawURLEncoding.EncodeToString(sum)
	return storedKey{ID: id, Algorithm: algorithm, Private: der}, nil
}

// marshalSet returns the public keys as a JWK Set (RFC 7517 §5). It never contains
// private members, because it is built from the public keys.
func marshalSet(keys []key) ([]byte, error) {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, k := range keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{
			Key: k.private.Public(), Use: "sig", Algorithm: k.method.Alg(), KeyID: k.id,
		})
	}
	return json.Marshal(set)
}
