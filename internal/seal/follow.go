package seal

import (
	"crypto/cipher"
	"sync/atomic"
)

// A Source returns the current shared secret. The secret changes if the gateways that
// share it have lost it and one of them has made another. A nil Source counts as
// missing.
type Source = func() [KeySize]byte

// Fixed returns the Source of a secret that never changes.
func Fixed(key Key) Source { return func() Key { return key } }

// CheckSource returns ErrNoKey if the source is nil or its secret was never set.
func CheckSource(of Source) error {
	if of == nil {
		return ErrNoKey
	}
	return Check(of())
}

// Follow returns AES-256-GCM that uses the source's current secret for each Seal and
// Open. Otherwise it is like [New].
func Follow(of Source) (cipher.AEAD, error) {
	if err := CheckSource(of); err != nil {
		return nil, err
	}
	f := &followingAEAD{of: of}
	_, err := f.cipherFor(of())
	return f, err
}

// A followingAEAD caches the cipher of the key that was used last.
type followingAEAD struct {
	of   Source
	last atomic.Pointer[keyedCipher]
}

type keyedCipher struct {
	key  Key
	aead cipher.AEAD
}

// cipherFor returns the cipher for a key.
func (f *followingAEAD) cipherFor(key Key) (cipher.AEAD, error) {
	if last := f.last.Load(); last != nil && last.key == key {
		return last.aead, nil
	}
	aead, err := New(key)
	if err == nil {
		f.last.Store(&keyedCipher{key: key, aead: aead})
	}
	return aead, err
}

// current returns the cipher for the current key. If that key is the zero Key, it
// returns the cipher for the previous one: nothing must be sealed with a key that
// anyone knows.
func (f *followingAEAD) current() cipher.AEAD {
	if aead, err := f.cipherFor(f.of()); err == nil {
		return aead
	}
	return f.last.Load().aead
}

func (f *followingAEAD) NonceSize() int { return f.current().NonceSize() }
func (f *followingAEAD) Overhead() int  { return f.current().Overhead() }

func (f *followingAEAD) Seal(dst, nonce, plaintext, additional []byte) []byte {
	return f.current().Seal(dst, nonce, plaintext, additional)
}

func (f *followingAEAD) Open(dst, nonce, ciphertext, additional []byte) ([]byte, error) {
	return f.current().Open(dst, nonce, ciphertext, additional)
}
