// Package edge asks: it lets a guard stand far from its authorization server,
// in another process, without a store. It checks access tokens with the
// server's published keys (RFC 9068), and asks the server whether they still
// live (RFC 7662), with a short memory. It decides nothing that the server
// decides; a guard of package httpapi uses it in place of the engine.
package edge

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// Config says which server, and who we are to it.
type Config struct {
	Issuer       string            // the server's issuer URL
	ClientID     string            // of a client with a secret and `guard`, for introspection
	ClientSecret deviceauth.Secret //
	Audience     []string          // accepted where a guard names none; default: the issuer
	Cache        time.Duration     // how long an answer about a token is good; default 500 ms
	HTTP         *http.Client      // with a time-out, or one of 5 s
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
	case c.Cache < 0 || c.Cache > maxCache:
		return fmt.Errorf("cache %v: want at most %v", c.Cache, maxCache)
	}
	return deviceauth.CheckIssuer(c.Issuer)
}

// A Server is an authorization server elsewhere. It is asked when the first
// token comes, and again until it answers.
type Server struct {
	cfg      Config
	metadata document[*metadata]
	keys     document[keySet]
	answers  answers
}

// New checks the configuration and returns a server.
func New(c Config) (*Server, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	orDefault(&c.Cache, defaultCache)
	if len(c.Audience) == 0 {
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
	s := &Server{cfg: c}
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

// Origins is empty: which pages play a device is the server's to know.
func (s *Server) Origins() []string { return nil }

// Audience returns what is accepted where a guard names none.
func (s *Server) Audience() []string { return slices.Clone(s.cfg.Audience) }

// What a guard tells (RFC 6750 §3.1).
var (
	errBadToken = deviceauth.Refuse("invalid_token", "the access token is malformed, expired, revoked or for another audience")
	errNoScope  = deviceauth.Refuse("insufficient_scope", "the access token lacks a scope that this resource needs")
)

// Admit checks an access token as the server's own guards do. Refusals:
// invalid_token, insufficient_scope. Any other error means that the server
// could not be asked.
func (s *Server) Admit(ctx context.Context, token string, need deviceauth.Requirement) (*deviceauth.Identity, error) {
	known, err := s.known(ctx, token)
	if err != nil {
		return nil, err
	}
	audience := need.Audience
	if len(audience) == 0 {
		audience = s.cfg.Audience
	}
	if !slices.ContainsFunc(known.claims.Audience, func(a string) bool { return slices.Contains(audience, a) }) {
		return nil, errBadToken
	}
	id, err := known.about(ctx, s.cfg.Cache, func() (*deviceauth.Identity, error) { return s.introspect(token, known.claims) })
	switch {
	case err != nil:
		return nil, err
	case id == nil:
		return nil, errBadToken
	case !need.Scope.Within(known.claims.Scope):
		return nil, errNoScope
	}
	return id, nil
}

// known returns a token of the server's that is in time. It is verified once
// and then known by its digest.
func (s *Server) known(ctx context.Context, token string) (*answered, error) {
	key := sha256.Sum256([]byte(token))
	if known := s.answers.find(key); known != nil {
		if over(known.claims) {
			return nil, errBadToken
		}
		return known, nil
	}
	claims, err := s.verify(ctx, token)
	if err != nil {
		return nil, err
	}
	return s.answers.entry(key, claims), nil
}
