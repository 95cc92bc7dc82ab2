package demoidp

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// memories keeps what an issuer remembers across reloads, by issuer URL: a
// gateway that has seen its key, and a browser that has signed in, notice
// nothing of a new configuration.
var memories = caddy.NewUsagePool()

// A memory is everything that one issuer knows: its keys, sign-ins under way,
// the access tokens they led to, and the browsers that have signed in. It is
// gone with the process.
type memory struct {
	key    *ecdsa.PrivateKey // signs ID tokens
	crypto [32]byte          // seals codes and access tokens

	mu       sync.Mutex
	requests shelf[*request]
	codes    shelf[string] // code → request
	tokens   shelf[*request]
	sessions shelf[session]
}

// A session is a browser that has signed in. since becomes auth_time, by which
// a relying party sees how fresh the sign-in is.
type session struct {
	account string
	since   time.Time
}

const (
	signInTime  = 10 * time.Minute // to choose an account and come back
	tokenTime   = 5 * time.Minute  // the gateway asks for the person once, at once
	sessionTime = 12 * time.Hour   // a day of trying things out
)

// newMemory returns the memory of a new issuer. Key and secret are new in each
// process, so tokens of an earlier one are not good.
func newMemory() (*memory, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	m := &memory{key: key, requests: shelf[*request]{}, codes: shelf[string]{}, tokens: shelf[*request]{},
		sessions: shelf[session]{}}
	rand.Read(m.crypto[:])
	return m, nil
}

// Destruct implements caddy.Destructor; there is nothing to close.
func (*memory) Destruct() error { return nil }
