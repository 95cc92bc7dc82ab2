// Package remote asks: it lets a guard stand far from its authorization server,
// in another process, without a store. It checks access tokens with the
// server's published keys (RFC 9068), and asks the server whether they still
// live (RFC 7662), with a short memory. It decides nothing that the server
// decides; a guard of package guard uses it in place of the engine.
package remote

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/discovery"
)

// Config says which server, and who we are to it.
type Config struct {
	Issuer       string            // the server's issuer URL
	ClientID     string            // of a client with a secret and `guard`, for introspection
	ClientSecret deviceauth.Secret //
	Audience     []string          // accepted where a guard names none; default: the issuer, whatever the server's own guards accept
	Cache        time.Duration     // how long an answer about a token is good; default 500 ms; below 0: not at all, each request asks
	Origins      []string          // of pages that may read what the backend answers; the server's are not known here
	HTTP         *http.Client      // with a time-out, or one of 5 s

	// OtherAudience, if any, is told of the first token of the server's that is
	// refused because of its audience where nobody said which one is wanted.
	OtherAudience func(has []string)
}

// The bounds of Cache. A revoked device is out within a second by default; who
// can wait longer asks less often.
const (
	defaultCache = 500 * time.Millisecond
	maxCache     = time.Minute
)

// Check says what is wrong with a configuration, without asking anybody.
func (c Config) Check() error {
	switch {
	case c.ClientID == "" || c.ClientSecret == "":
		return errors.New("client: want the id and the secret of a client that is declared with guard at the server")
	case c.Cache > maxCache:
		return fmt.Errorf("cache %v: want at most %v", c.Cache, maxCache)
	}
	return discovery.CheckIssuer(c.Issuer)
}

// A Server is an authorization server elsewhere. It is asked when the first
// token comes, and again until it answers.
type Server struct {
	cfg      Config
	metadata document[*metadata]
	keys     document[keySet]
	answers  *introspectionCache
	hint     sync.Once
}

// New checks the configuration and returns a server.
func New(c Config) (*Server, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	orDefault(&c.Cache, defaultCache)
	if len(c.Audience) > 0 {
		c.OtherAudience = nil
	} else {
		c.Audience = []string{c.Issuer}
	}
	own := http.Client{}
	if c.HTTP != nil {
		own = *c.HTTP
	}
	orDefault(&own.Timeout, 5*time.Second) // without one, a server that hangs would never be asked again
	// Tokens and our secret go where the metadata say, and nowhere else.
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.HTTP = &own
	s := &Server{cfg: c, answers: newAnswers()}
	s.metadata.fetch, s.metadata.pause = s.fetchMetadata, failurePause
	s.keys.fetch, s.keys.pause = s.fetchKeys, keysPause
	return s, nil
}

func orDefault(d *time.Duration, to time.Duration) {
	if *d == 0 {
		*d = to
	}
}

// Issuer returns the issuer URL as configured.
func (s *Server) Issuer() string { return s.cfg.Issuer }

// Origins returns the origins as configured: which pages play a device, the
// server does not tell.
func (s *Server) Origins() []string { return s.cfg.Origins }

// Audience returns what is accepted where a guard names none.
func (s *Server) Audience() []string { return slices.Clone(s.cfg.Audience) }

// ValidateToken checks an access token as the server's own guards do. Refusals:
// invalid_token, insufficient_scope. Any other error means that the server
// could not be asked.
func (s *Server) ValidateToken(ctx context.Context, token string, need deviceauth.Requirement) (*deviceauth.Identity, error) {
	known, err := s.known(ctx, token)
	if err != nil {
		return nil, err
	}
	if !s.wants(need.Audience, known.claims.Audience) {
		return nil, deviceauth.BadToken(deviceauth.TokenAudience, nil)
	}
	id, err := known.about(ctx, s.cfg.Cache, func() (*deviceauth.Identity, error) { return s.introspect(token, known.claims) })
	switch {
	case err != nil:
		return nil, err
	case id == nil:
		return nil, deviceauth.BadToken(deviceauth.TokenRevoked, nil)
	case !need.Scope.Within(known.claims.Scope):
		return nil, deviceauth.LacksScope(id)
	}
	return id, nil
}

// wants reports whether a token's audience is one that is wanted. Where that is
// but our guess, the operator is told of the first token that it shuts out. No
// more: tokens come from outside, and a log must not grow with them.
func (s *Server) wants(these, has []string) bool {
	guessed := len(these) == 0 && s.cfg.OtherAudience != nil
	if len(these) == 0 {
		these = s.cfg.Audience
	}
	wanted := deviceauth.SameAudience(has, these)
	if !wanted && guessed {
		s.hint.Do(func() { s.cfg.OtherAudience(has) })
	}
	return wanted
}

// known returns a token of the server's that is in time. It is verified once
// and then known by its digest.
func (s *Server) known(ctx context.Context, token string) (*introspected, error) {
	key := sha256.Sum256([]byte(token))
	if known := s.answers.find(key); known != nil {
		if over(known.claims) {
			return nil, deviceauth.BadToken(deviceauth.TokenExpired, nil)
		}
		return known, nil
	}
	claims, err := s.verify(ctx, token)
	if err != nil {
		return nil, err
	}
	return s.answers.entry(key, claims), nil
}
