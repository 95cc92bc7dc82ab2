package keyring

import (
	"context"
	"errors"
)

// ErrLost is what [Keyring.Health] says where the store has no ring. The gateway
// signs with the keys in its memory, and writes them back when it next looks.
var ErrLost = errors.New("the store has lost the signing keys")

// Health asks the store for the ring, and reports what is wrong: the store's own
// error, or [ErrLost]. It changes nothing.
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
