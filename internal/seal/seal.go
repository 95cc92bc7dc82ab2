// Package seal makes the authenticated encryption that the module uses for
// what others keep: cookies in browsers, refresh tokens of upstreams in a
// store. It decides nothing about what is sealed, or for whom.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
)

// KeySize is that of AES-256.
const KeySize = 32

// A Key is a shared secret. The zero Key is no key: a program that forgets to set one
// gets an error, and not a seal that any reader can open.
type Key = [KeySize]byte

// ErrNoKey refuses the zero Key.
var ErrNoKey = errors.New("the key is missing: it is 32 zero bytes, which everybody knows")

// Check refuses a Key that was never set.
func Check(key Key) error {
	if key == (Key{}) {
		return ErrNoKey
	}
	return nil
}

// New returns AES-256-GCM under a key. Every call of Seal draws a nonce, which
// stands before the ciphertext; so the nonce argument is nil on both sides.
// An error is only ever [ErrNoKey]; AES accepts every other key of this size.
// With random nonces of 96 bits one key is good for 2^32 seals (NIST SP 800-38D
// §8.3).
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
