package redisstore

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// decodeGrant decodes the value that is stored under an id, and refuses it if it is
// not that grant. A key that was renamed, restored from elsewhere or written by hand
// must not pass for another grant, because the id is part of what tokens mean.
func decodeGrant(id deviceauth.ID, text string) (*deviceauth.Grant, error) {
	g, err := decode(text)
	if err == nil {
		err = g.CheckRecord(id)
	}
	if err != nil {
		return nil, fmt.Errorf("redis store: grant %s: %w", id, err)
	}
	return g, nil
}

// nonceSize is the length of the random nonce before every value, which makes the
// text of every write unique. Without it, compare-and-set by value could not
// distinguish A→B→A from no change at all.
const nonceSize = 16

func withNonce(value []byte) string { return rand.Text()[:nonceSize] + string(value) }

func withoutNonce(text string) string { return text[min(nonceSize, len(text)):] }

func encode(g *deviceauth.Grant) (string, error) {
	text, err := json.Marshal(g)
	if err != nil {
		return "", fmt.Errorf("redis store: encoding a grant: %w", err)
	}
	return withNonce(text), nil
}

// decode decodes a stored value. A value shorter than the nonce decodes as the empty
// text, which is not valid JSON.
func decode(text string) (*deviceauth.Grant, error) {
	g := new(deviceauth.Grant)
	if err := json.Unmarshal([]byte(withoutNonce(text)), g); err != nil {
		return nil, fmt.Errorf("decoding: %w", err)
	}
	return g, nil
}

// wrap adds to an error that it comes from this store. redis.Nil, the library's error
// for a missing key, becomes [deviceauth.ErrNotFound], which the interface of stores
// requires.
func wrap(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, redis.Nil):
		return deviceauth.ErrNotFound
	}
	return fmt.Errorf("redis store: %w", err)
}
