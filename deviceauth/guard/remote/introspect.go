package remote

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/generations"
)

// An introspection is the server's response about a token (RFC 7662 §2.2). A client
// with the `guard` option also gets the person who approved the device.
type introspection struct {
	Active *bool              `json:"active"` // required: a response without it is an error
	User   string             `json:"username"`
	Person *deviceauth.Person `json:"person"`
}

// person returns the person in the response. An older server, or one that does not
// treat this client as a guard, names only the user.
func (i *introspection) person(c *deviceauth.AccessClaims) *deviceauth.Person {
	if i.Person != nil {
		return i.Person
	}
	return &deviceauth.Person{Subject: c.Subject, User: i.User}
}

// introspect asks the server about a token (RFC 7662). A nil identity means that
// the token is not active.
func (s *Server) introspect(token string, claims *deviceauth.AccessClaims) (*deviceauth.Identity, error) {
	m, _ := s.metadata.known() // fetched by now: the metadata led to the key that verified the token
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	r, err := http.NewRequest(http.MethodPost, m.Introspect, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	// A nil value is not sent, but lets net/http repeat the request if the server
	// closed an idle connection at that moment.
	r.Header["Idempotency-Key"] = nil
	// RFC 6749 §2.3.1 requires both parts to be form-encoded.
	r.SetBasicAuth(url.QueryEscape(s.cfg.ClientID), url.QueryEscape(s.cfg.ClientSecret.Reveal()))
	response := new(introspection)
	if err := s.do(r, response); err != nil {
		s.metadata.renew() // the endpoint may have moved
		return nil, err
	}
	if response.Active == nil {
		return nil, fmt.Errorf("%s does not say whether a token is active (RFC 7662 §2.2)", m.Introspect)
	}
	if !*response.Active {
		return nil, nil
	}
	person := response.person(claims)
	if !person.Clean() {
		return nil, nil // the server's own guard refuses such a person, too, but that of an older server does not
	}
	return deviceauth.NewIdentity(person, claims), nil
}

// decode turns claims into a struct, by encoding them as JSON and decoding that.
func decode(from map[string]any, to any) error {
	text, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, to)
}

// An introspectionCache has recently verified tokens by their digests, each with the
// latest response about it. Tokens that are no longer used are dropped.
type introspectionCache = generations.Shared[[sha256.Size]byte, *cachedToken]

// generation is the number of tokens in one generation of the cache. It is the same
// as in the server's own guard.
const generation = 20_000

// newIntrospectionCache returns an empty cache.
func newIntrospectionCache() *introspectionCache {
	return generations.NewShared[[sha256.Size]byte, *cachedToken](generation)
}

// A cachedToken is a verified token with the latest response about it.
type cachedToken struct {
	claims *deviceauth.AccessClaims
	turn   chan struct{} // a lock: it is full while a request asks the server
	last   atomic.Pointer[cachedResponse]
}

// A cachedResponse is a response with the time of its request, or the error if
// there was no response.
type cachedResponse struct {
	asked, ended time.Time
	id           *deviceauth.Identity // nil: the token is not active
	err          error
}

// usable reports whether the response may be used for a request that arrived at the
// given time. A response that was requested later than that may be used, however
// short the cache lifetime is. An error may be used for a moment, and for its own
// token only, so that a failing server is not asked more often than a healthy one,
// and requests that waited for a timeout do not wait again one after the other.
func (d *cachedResponse) usable(arrived time.Time, memory time.Duration) bool {
	switch {
	case d == nil:
		return false
	case d.err != nil:
		return time.Since(d.ended) < failurePause
	}
	return d.asked.After(arrived) || time.Since(d.asked) < memory
}

// current returns the server's response about the token, from the cache or from the
// server. One of several concurrent requests asks the server, and the others wait for
// its result.
func (e *cachedToken) current(
	ctx context.Context, memory time.Duration, ask func() (*deviceauth.Identity, error),
) (*deviceauth.Identity, error) {
	arrived := time.Now()
	if last := e.last.Load(); last.usable(arrived, memory) {
		return last.id, last.err
	}
	// The channel is a lock, for which a request can stop waiting.
	select {
	case e.turn <- struct{}{}:
		defer func() { <-e.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	// The request that held the lock before may have got a usable response.
	if last := e.last.Load(); last.usable(arrived, memory) {
		return last.id, last.err
	}
	if ctx.Err() != nil { // select chooses at random if both cases are ready
		return nil, ctx.Err()
	}
	next := &cachedResponse{asked: time.Now()}
	next.id, next.err = ask()
	next.ended = time.Now()
	e.last.Store(next)
	return next.id, next.err
}
