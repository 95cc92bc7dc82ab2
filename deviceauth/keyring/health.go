package keyring

import (
	"context"
	"errors"
)

// ErrLost is the error of [Keyring.Health] if the store has no ring. The gateway
// signs with the keys in its memory, and writes them back at the next maintenance.
var ErrLost = errors.New("the store has lost the signing keys")

// Health reads the ring from the store, and returns the store's error, or [ErrLost].
// It changes nothing.
func (k *Keyring) Health(ctx context.Context) error {
	text, err := k.documents.LoadDocument(ctx, document)
	if err != nil {
		return err
	}
	// An empty document decodes as a ring without keys.
	r, err := decodeRing(text)
	if err == nil && len(r.Keys) == 0 {
		err = ErrLost
	}
	return err
}
