package seal

import (
	"crypto/cipher"
	"sync/atomic"
)

// A Source returns a shared secret as it is now: it changes where the gateways that
// share it have lost it, and one of them made another. Nil is no source.
type Source = func() [KeySize]byte

// Fixed is a secret that never changes.
func Fixed(key Key) Source { return func() Key { return key } }

// CheckSource refuses a secret that was never set.
func CheckSource(of Source) error {
	if of == nil {
		return ErrNoKey
	}
	return Check(of())
}

// Follow returns AES-256-GCM under whatever the secret is when something is sealed
// or opened, as [New] does under one key.
func Follow(of Source) (cipher.AEAD, error) {
	if err := CheckSource(of); err != nil {
		return nil, err
	}
	f := &following{of: of}
	_, err := f.under(of())
	return f, err
}

// following is made ready for the key that was used last.
type following struct {
	of   Source
	last atomic.Pointer[keyed]
}

type keyed struct {
	key  Key
	aead cipher.AEAD
}

// under returns the encryption under a key.
func (f *following) under(key Key) (cipher.AEAD, error) {
	if last := f.last.Load(); last != nil && last.key == key {
		return last.aead, nil
	}
	aead, err := New(key)
	if err == nil {
		f.last.Store(&keyed{key: key, aead: aead})
	}
	return aead, err
}

// now is the encryption under the present key. One that is missing by now leaves
// the key before it: nothing must be sealed that any reader can open.
func (f *following) now() cipher.AEAD {
	if aead, err := f.under(f.of()); err == nil {
		return aead
	}
	return f.last.Load().aead
}

func (f *following) NonceSize() int { return f.now().NonceSize() }
func (f *following) Overhead() int  { return f.now().Overhead() }

func (f *following) Seal(dst, nonce, plaintext, additional []byte) []byte {
	return f.now().Seal(dst, nonce, plaintext, additional)
}

func (f *following) Open(dst, nonce, ciphertext, additional []byte) ([]byte, error) {
	return f.now().Open(dst, nonce, ciphertext, additional)
}
