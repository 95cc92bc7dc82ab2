// Package seal provides the authenticated encryption for data that the module stores
// elsewhere: cookies in browsers, refresh tokens of upstreams in a store. It does not
// decide what is sealed.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
)

// KeySize is the size of an AES-256 key.
const KeySize = 32

// A Key is a shared secret. The zero Key is invalid: a program that forgets to set
// one gets an error, and not a seal that anyone can open.
type Key = [KeySize]byte

// ErrNoKey is the error for the zero Key.
var ErrNoKey = errors.New("the key is missing: it is 32 zero bytes, which everybody knows")

// Check returns ErrNoKey for the zero Key.
func Check(key Key) error {
	if key == (Key{}) {
		return ErrNoKey
	}
	return nil
}

// New returns AES-256-GCM with a key. Every call of Seal generates a nonce and puts
// it before the ciphertext, so callers pass nil as nonce to both Seal and Open. The
// only error is [ErrNoKey], because AES accepts any other key of this size. With
// random nonces of 96 bits, one key must not be used for more than 2^32 seals (NIST
// SP 800-38D §8.3).
func New(key Key) (cipher.AEAD, error) {
	if err := Check(key); err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
