package redisstore

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// own decodes what is stored under an id, and refuses what is not that grant.
// A key that was renamed, restored from elsewhere or written by hand must not
// pass for another grant: the id is part of what tokens mean.
func own(id deviceauth.ID, text string) (*deviceauth.Grant, error) {
	g, err := decode(text)
	if err == nil {
		err = g.CheckRecord(id)
	}
	if err != nil {
		return nil, fmt.Errorf("redis store: grant %s: %w", id, err)
	}
	return g, nil
}

// nonceSize is the length of what stands before every value: random, so that no
// two writes are of the same text, and each can be distinguished from another.
// Compare-and-set by value would otherwise confuse A→B→A with no change at all.
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

// decode reads a stored value. A shorter value than the mark decodes as the
// empty text, which is an error of JSON.
func decode(text string) (*deviceauth.Grant, error) {
	g := new(deviceauth.Grant)
	if err := json.Unmarshal([]byte(withoutNonce(text)), g); err != nil {
		return nil, fmt.Errorf("decoding: %w", err)
	}
	return g, nil
}

// wrap adds where a fault is from; what the contract names stays as it is.
// redis.Nil is the library's word for a key that is not there.
func wrap(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, redis.Nil):
		return deviceauth.ErrNotFound
	}
	return fmt.Errorf("redis store: %w", err)
}
