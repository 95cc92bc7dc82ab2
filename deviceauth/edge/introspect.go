package edge

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// An introspection is the server's answer about a token (RFC 7662 §2.2), with
// who stands behind it, which it tells to clients that are guards.
type introspection struct {
	Active bool               `json:"active"`
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

func (s *Server) introspect(token string) (*introspection, error) {
	m, err := s.describe()
	if err != nil {
		return nil, err
	}
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	r, err := http.NewRequest(http.MethodPost, m.Introspect, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(url.QueryEscape(s.cfg.ClientID), url.QueryEscape(s.cfg.ClientSecret.Reveal())) // RFC 6749 §2.3.1
	answer := new(introspection)
	if err := s.do(r, answer); err != nil {
		s.doubt()
		return nil, err
	}
	return answer, nil
}

// decode turns claims into a struct, by way of their JSON.
func decode(from map[string]any, to any) error {
	text, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, to)
}

// answers remembers what the server said about tokens, in two generations as
// the server's own guards do.
type answers struct {
	mu         *sync.Mutex
	young, old map[[32]byte]*answered
}

const generation = 20_000

func newAnswers() answers { return answers{mu: new(sync.Mutex), young: map[[32]byte]*answered{}} }

// answered is what was last said about one token.
type answered struct {
	turn chan struct{} // held by whoever asks
	last atomic.Pointer[dated]
}

type dated struct {
	asked  time.Time
	answer *introspection
}

// about returns an answer that was asked for a moment ago at most. Of many who
// want one, one asks. A failure is not remembered: the next one asks again.
func (a *answers) about(ctx context.Context, key [32]byte, moment time.Duration, ask func() (*introspection, error)) (*introspection, error) {
	e := a.entry(key)
	if last := e.last.Load(); last != nil && time.Since(last.asked) < moment {
		return last.answer, nil
	}
	select {
	case e.turn <- struct{}{}:
		defer func() { <-e.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	now := time.Now()
	if last := e.last.Load(); last != nil && now.Sub(last.asked) < moment {
		return last.answer, nil
	}
	answer, err := ask()
	if err != nil {
		return nil, err
	}
	e.last.Store(&dated{now, answer})
	return answer, nil
}

// entry finds a token among those of late, or makes room for it.
func (a *answers) entry(key [32]byte) *answered {
	a.mu.Lock()
	defer a.mu.Unlock()
	e := a.young[key]
	if e != nil {
		return e
	}
	if e = a.old[key]; e == nil {
		e = &answered{turn: make(chan struct{}, 1)}
	}
	if len(a.young) >= generation {
		a.old, a.young = a.young, map[[32]byte]*answered{}
	}
	a.young[key] = e
	return e
}
