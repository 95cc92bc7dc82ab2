package remote

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/generations"
)

// An introspection is the server's answer about a token (RFC 7662 §2.2), with
// who stands behind it, which it tells to clients that are guards.
type introspection struct {
	Active *bool              `json:"active"` // required: without it this is no answer
	User   string             `json:"username"`
	Person *deviceauth.Person `json:"person"`
}

// person is who the server says; a server that does not know of guards tells
// the user's name alone.
func (i *introspection) person(c *deviceauth.AccessClaims) *deviceauth.Person {
	if i.Person != nil {
		return i.Person
	}
	return &deviceauth.Person{Subject: c.Subject, User: i.User}
}

// introspect asks who stands behind a token now; nobody, where it is not alive.
func (s *Server) introspect(token string, claims *deviceauth.AccessClaims) (*deviceauth.Identity, error) {
	m, _ := s.metadata.known() // there are some: by them we found the key that the token was verified with
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	r, err := http.NewRequest(http.MethodPost, m.Introspect, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header["Idempotency-Key"] = nil                                                             // is not sent; lets net/http try again where an idle connection was just closed
	r.SetBasicAuth(url.QueryEscape(s.cfg.ClientID), url.QueryEscape(s.cfg.ClientSecret.Reveal())) // RFC 6749 §2.3.1
	answer := new(introspection)
	if err := s.do(r, answer); err != nil {
		s.metadata.renew() // maybe what it said of itself is no longer so
		return nil, err
	}
	if answer.Active == nil {
		return nil, fmt.Errorf("%s does not say whether a token is active (RFC 7662 §2.2)", m.Introspect)
	}
	if !*answer.Active {
		return nil, nil
	}
	person := answer.person(claims)
	if !person.Clean() {
		return nil, nil // nor does the server's own guard let them in; an older one does
	}
	return deviceauth.NewIdentity(person, claims), nil
}

// decode turns claims into a struct, by way of their JSON.
func decode(from map[string]any, to any) error {
	text, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, to)
}

// introspectionCache remembers tokens that were verified, and what the server said about
// them, as long as they come often.
type introspectionCache struct {
	mu    sync.Mutex
	known *generations.Memory[[32]byte, *introspected]
}

// generation is as large as that of the server's own guards.
const generation = 20_000

func newAnswers() *introspectionCache {
	return &introspectionCache{known: generations.New[[32]byte, *introspected](generation)}
}

// introspected is what was last said about one token.
type introspected struct {
	claims *deviceauth.AccessClaims
	turn   chan struct{} // held by whoever asks
	last   atomic.Pointer[expiring]
}

// expiring is an answer, or that there was none.
type expiring struct {
	asked, ended time.Time
	id           *deviceauth.Identity // nil: the token is not alive
	err          error
}

// good reports whether the answer will do for a request that arrived then. What
// was asked for later does, however short our memory. A failure does for a
// moment, for its token alone: an ailing server is asked less than a healthy
// one, and those who waited out its silence do not do so again, one by one.
func (d *expiring) good(arrived time.Time, memory time.Duration) bool {
	switch {
	case d == nil:
		return false
	case d.err != nil:
		return time.Since(d.ended) < failurePause
	}
	return d.asked.After(arrived) || time.Since(d.asked) < memory
}

// about returns what the server says about the token, or said a moment ago. Of
// many who want to know, one asks.
func (e *introspected) about(ctx context.Context, memory time.Duration, ask func() (*deviceauth.Identity, error)) (*deviceauth.Identity, error) {
	arrived := time.Now()
	if last := e.last.Load(); last.good(arrived, memory) {
		return last.id, last.err
	}
	select {
	case e.turn <- struct{}{}:
		defer func() { <-e.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if last := e.last.Load(); last.good(arrived, memory) {
		return last.id, last.err
	}
	if ctx.Err() != nil { // select takes either where both are ready
		return nil, ctx.Err()
	}
	next := &expiring{asked: time.Now()}
	next.id, next.err = ask()
	next.ended = time.Now()
	e.last.Store(next)
	return next.id, next.err
}

// find returns a token of those of late, or nil.
func (a *introspectionCache) find(key [32]byte) *introspected {
	a.mu.Lock()
	defer a.mu.Unlock()
	e, _, ages := a.known.Get(key)
	if ages {
		a.known.Put(key, e)
	}
	return e
}

// entry makes room for a token that was verified, unless another request did.
func (a *introspectionCache) entry(key [32]byte, claims *deviceauth.AccessClaims) *introspected {
	a.mu.Lock()
	defer a.mu.Unlock()
	if e, found, _ := a.known.Get(key); found {
		return e
	}
	e := &introspected{claims: claims, turn: make(chan struct{}, 1)}
	a.known.Put(key, e)
	return e
}
