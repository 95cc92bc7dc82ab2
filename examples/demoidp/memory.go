package demoidp

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// memories keeps the memory of each issuer across reloads, by issuer URL: the
// key and the sessions of browsers stay the same with a new configuration.
var memories = caddy.NewUsagePool()

// A memory is the state of one issuer: its keys, the sign-ins in progress, the
// access tokens that it issued, and the sessions of browsers. It is lost when
// the process ends.
type memory struct {
	key    *ecdsa.PrivateKey // signs ID tokens
	crypto [32]byte          // seals codes and access tokens

	mu       sync.Mutex
	requests expiringMap[*request]
	codes    expiringMap[string] // code → request
	tokens   expiringMap[*request]
	sessions expiringMap[session]
}

// A session is a browser that has signed in. since becomes auth_time, which
// tells a relying party when the person signed in.
type session struct {
	account string
	since   time.Time
}

const (
	signInTime  = 10 * time.Minute // to choose an account and come back
	tokenTime   = 5 * time.Minute  // the gateway requests userinfo once, immediately
	sessionTime = 12 * time.Hour   // a day of trying things out
)

// newMemory returns the memory of a new issuer. Key and secret are new in each
// process, so tokens of an earlier process are not valid.
func newMemory() (*memory, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	m := &memory{key: key, requests: expiringMap[*request]{}, codes: expiringMap[string]{},
		tokens: expiringMap[*request]{}, sessions: expiringMap[session]{}}
	rand.Read(m.crypto[:])
	return m, nil
}

// Destruct implements caddy.Destructor; there is nothing to close.
func (*memory) Destruct() error { return nil }
