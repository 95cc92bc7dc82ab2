package keyring

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
)

// makers are the algorithms (RFC 7518 §3.1, RFC 8037 §3.1).
var makers = map[string]func() (crypto.Signer, error){
	"ES256": func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) },
	"EdDSA": func() (crypto.Signer, error) {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	},
	"RS256": func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) },
}

// CheckAlgorithm says what is wrong with the name of a signing algorithm.
func CheckAlgorithm(name string) error {
	if makers[name] == nil {
		return fmt.Errorf("signing %q: want ES256, EdDSA or RS256", name)
	}
	return nil
}

// newKey makes a key for an algorithm of makers. The private key is kept as
// PKCS #8 (RFC 5958), which names its algorithm itself, and the key's id is
// its thumbprint.
func newKey(algorithm string) (storedKey, error) {
	private, err := makers[algorithm]()
	if err != nil {
		return storedKey{}, fmt.Errorf("making a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return storedKey{}, fmt.Errorf("encoding a key: %w", err)
	}
	public, err := publicJWK(private.Public())
	if err != nil {
		return storedKey{}, err
	}
	return storedKey{ID: public.thumbprint(), Algorithm: algorithm, Private: der}, nil
}

// jwk is a public key (RFC 7517 §4). Its first members are in the order that
// RFC 7638 §3.2 digests them in.
type jwk struct {
	Crv string `json:"crv,omitempty"`
	E   string `json:"e,omitempty"`
	Kty string `json:"kty"`
	N   string `json:"n,omitempty"`
	X   string `json:"x,omitempty"`
	Y   string `json:"y,omitempty"`

	Use string `json:"use,omitempty"`
	Alg string `json:"alg,omitempty"`
	Kid string `json:"kid,omitempty"`
}

// publicJWK converts a public key. The coordinates have their full length,
// with leading zeros (RFC 7518 §6.2.1.2). An error means a key of a type that
// makers does not make.
func publicJWK(public crypto.PublicKey) (jwk, error) {
	b64 := base64.RawURLEncoding.EncodeToString
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		point, err := k.Bytes() // 4 ‖ X ‖ Y
		if err != nil {
			return jwk{}, fmt.Errorf("encoding a key: %w", err)
		}
		half := 1 + len(point)/2
		return jwk{Kty: "EC", Crv: k.Curve.Params().Name, X: b64(point[1:half]), Y: b64(point[half:])}, nil
	case ed25519.PublicKey:
		return jwk{Kty: "OKP", Crv: "Ed25519", X: b64(k)}, nil
	case *rsa.PublicKey:
		return jwk{Kty: "RSA", N: b64(k.N.Bytes()), E: b64(big.NewInt(int64(k.E)).Bytes())}, nil
	}
	return jwk{}, fmt.Errorf("no JWK for a %T", public)
}

// thumbprint names a key by itself (RFC 7638), so that no two gateways can
// give one name to two keys.
func (k jwk) thumbprint() string {
	text, _ := json.Marshal(k) // strings only: cannot fail
	sum := sha256.Sum256(text)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// marshalSet never contains a private member: the keys are built from the public half.
func marshalSet(keys []key) ([]byte, error) {
	set := struct {
		Keys []jwk `json:"keys"`
	}{[]jwk{}}
	for _, k := range keys {
		public, err := publicJWK(k.private.Public())
		if err != nil {
			return nil, err
		}
		public.Use, public.Alg, public.Kid = "sig", k.method.Alg(), k.id
		set.Keys = append(set.Keys, public)
	}
	return json.Marshal(set)
}
