// Package remote lets a guard work without engine and store, with an authorization
// server in another process. It verifies access tokens with the server's published
// keys (RFC 9068), and asks the server whether they are still active (RFC 7662), with
// a short cache. It makes no decision that is the server's. A guard uses a [Server]
// as its [guard.TokenValidator] in place of the engine.
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

// Config says which server to ask, and as which client.
type Config struct {
	Issuer       string            // the server's issuer URL
	ClientID     string            // a client with a secret and the `guard` option, for introspection
	ClientSecret deviceauth.Secret // of the same client; required
	// Audience has the audiences that are accepted if a guard names none. Default:
	// the issuer alone, whatever the server's own guards accept.
	Audience []string
	// Cache is how long a response about a token is used: at most a minute; default:
	// 500 ms; below 0: every request asks the server.
	Cache   time.Duration
	Origins []string     // of pages that may read the backend's responses; the server does not publish them
	HTTP    *http.Client // its timeout bounds each request; default: 5 s

	// OtherAudience, if set, is called for the first token of the server that is
	// refused because of its audience, if no audience is configured.
	OtherAudience func(has []string)
}

// These are the bounds of Cache. By default a revoked device is refused within a
// second; a longer cache asks the server less often.
const (
	defaultCache = 500 * time.Millisecond
	maxCache     = time.Minute
)

// Check checks a configuration without a request to the server.
func (c Config) Check() error {
	switch {
	case c.ClientID == "" || c.ClientSecret == "":
		return errors.New("client: want the id and the secret of a client that is declared with guard at the server")
	case c.Cache > maxCache:
		return fmt.Errorf("cache %v: want at most %v", c.Cache, maxCache)
	}
	return discovery.CheckIssuer(c.Issuer)
}

// A Server is an authorization server in another process. It is asked only when the
// first token arrives, so that a guard starts while the server is down.
type Server struct {
	cfg            Config
	metadata       document[*metadata]
	keys           document[keySet]
	introspections *introspectionCache
	hint           sync.Once
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
	orDefault(&own.Timeout, 5*time.Second) // without a timeout, a server that hangs would never be asked again
	// Tokens and the client's secret are sent only where the metadata say, so
	// redirects are not followed.
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.HTTP = &own
	s := &Server{cfg: c, introspections: newIntrospectionCache()}
	s.metadata.fetch, s.metadata.pause = s.fetchMetadata, failurePause
	s.keys.fetch, s.keys.pause = s.fetchKeys, keysPause
	return s, nil
}

// orDefault sets a duration that is 0 to its default.
func orDefault(d *time.Duration, to time.Duration) {
	if *d == 0 {
		*d = to
	}
}

// Issuer returns the issuer URL as configured.
func (s *Server) Issuer() string { return s.cfg.Issuer }

// AllowsOrigin reports whether an origin is configured. The server does not publish
// which pages act as a device.
func (s *Server) AllowsOrigin(_ context.Context, origin string) bool {
	return slices.Contains(s.cfg.Origins, origin)
}

// Audience returns the audiences that are accepted if a guard names none.
func (s *Server) Audience() []string { return slices.Clone(s.cfg.Audience) }

// ValidateToken validates an access token as the server's own guards do. A
// refusal is a *[deviceauth.Error]: invalid_token or insufficient_scope. Any
// other error means that the server could not be asked. The audience is checked
// before the server is asked, and the scope after: only an active token may
// learn that its scope is too small.
func (s *Server) ValidateToken(
	ctx context.Context, token string, need deviceauth.Requirement,
) (*deviceauth.Identity, error) {
	known, err := s.known(ctx, token)
	if err != nil {
		return nil, err
	}
	if !s.acceptsAudience(need.Audience, known.claims.Audience) {
		return nil, deviceauth.BadToken(deviceauth.TokenAudience, nil)
	}
	id, err := known.current(ctx, s.cfg.Cache, func() (*deviceauth.Identity, error) {
		return s.introspect(token, known.claims)
	})
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

// acceptsAudience reports whether a token has an accepted audience. If the accepted
// audience is only the default, it calls OtherAudience for the first token that is
// refused for it, and for no other one: clients choose the tokens, and must not fill
// a log.
func (s *Server) acceptsAudience(these, has []string) bool {
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

// known returns a verified, unexpired token of the server. A token is verified once,
// and then found by its SHA-256.
func (s *Server) known(ctx context.Context, token string) (*cachedToken, error) {
	key := sha256.Sum256([]byte(token))
	if known, found := s.introspections.Get(key); found {
		if hasExpired(known.claims) {
			return nil, deviceauth.BadToken(deviceauth.TokenExpired, nil)
		}
		return known, nil
	}
	claims, err := s.verify(ctx, token)
	if err != nil {
		return nil, err
	}
	return s.introspections.Add(key, &cachedToken{claims: claims, turn: make(chan struct{}, 1)}), nil
}
