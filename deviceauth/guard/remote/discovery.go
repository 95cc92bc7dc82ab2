package remote

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/discovery"
)

// A new key is published ten minutes before it signs. So a guard that fetches
// the keys every five minutes knows it in time.
const (
	keysLife    = 5 * time.Minute
	keysPause   = 5 * time.Second // between two fetches for unknown key ids, which anyone can invent
	maxDocument = 1 << 20         // bytes of a response
)

// metadata are the members of RFC 8414 §2 that a guard needs.
type metadata struct {
	Issuer     string `json:"issuer"`
	Keys       string `json:"jwks_uri"`
	Introspect string `json:"introspection_endpoint"`
}

// fetchMetadata fetches the server's metadata. It is called again after a request to
// an address in the metadata has failed. The previous metadata are used until a fetch
// succeeds.
func (s *Server) fetchMetadata() (*metadata, error) {
	m := new(metadata)
	if err := s.fetch(wellKnown(s.cfg.Issuer), m); err != nil {
		return nil, err
	}
	return m, m.check(s.cfg.Issuer)
}

// wellKnown returns the URL of the metadata (RFC 8414 §3.1), whose well-known path
// comes before the issuer's own path.
func wellKnown(issuer string) string {
	u, _ := url.Parse(issuer) // checked by Config.Check
	return u.Scheme + "://" + u.Host + "/.well-known/oauth-authorization-server" + strings.TrimSuffix(u.Path, "/")
}

// check requires that the metadata name this very issuer (RFC 8414 §3.3), and that
// endpoints use TLS: the guard sends tokens and its secret there.
func (m *metadata) check(issuer string) error {
	if m.Issuer != issuer {
		return fmt.Errorf("the metadata of %s say that it is %q (RFC 8414 §3.3)", issuer, m.Issuer)
	}
	// One endpoint receives secrets and the other one decides which tokens are valid,
	// so only a loopback host may do without TLS.
	for name, address := range map[string]string{"jwks_uri": m.Keys, "introspection_endpoint": m.Introspect} {
		u, err := url.Parse(address)
		if err != nil || u.Scheme != "https" && (u.Scheme != "http" || !discovery.IsLoopback(u.Hostname())) {
			return fmt.Errorf("the metadata of %s have the %s %q: want an https URL", issuer, name, address)
		}
	}
	return nil
}

// A keySet has the published keys by key ID.
type keySet map[string]jose.JSONWebKey

// key returns a published key, without waiting if the key is known. For an unknown
// key it fetches the key set, at most once in keysPause for all requests. A key set
// older than keysLife is fetched again in the background, because a key that the
// server has withdrawn must become invalid.
func (s *Server) key(ctx context.Context, id string) (*jose.JSONWebKey, error) {
	keys, asked := s.keys.known()
	if key, known := keys[id]; known {
		if time.Since(asked) >= keysLife {
			// The request does not wait for this fetch, and uses the known key
			// meanwhile.
			s.keys.renew()
		}
		return &key, nil
	}
	keys, err := s.keys.newer(ctx)
	if err != nil {
		return nil, err // a fault, not a refusal: the server may have published the key
	}
	if key, known := keys[id]; known {
		return &key, nil
	}
	return nil, deviceauth.ErrBadToken
}

// fetchKeys fetches the JWK Set (RFC 7517 §5). It drops keys that are private,
// symmetric or without an ID: a published secret verifies nothing.
func (s *Server) fetchKeys() (keySet, error) {
	m, err := s.metadata.get(context.Background()) // no request's context, because several requests wait for the result
	if err != nil {
		return nil, err
	}
	var set jose.JSONWebKeySet
	if err := s.fetch(m.Keys, &set); err != nil {
		s.metadata.renew()
		return nil, fmt.Errorf("fetching the keys: %w", err)
	}
	keys := keySet{}
	for _, key := range set.Keys {
		if key.KeyID != "" && key.Valid() && key.IsPublic() {
			keys[key.KeyID] = key
		}
	}
	// An empty set would refuse every token, so it is a fault.
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s has no key that is good for anything", m.Keys)
	}
	return keys, nil
}

// fetch gets a JSON document. Several requests may wait for the result, so fetch uses
// no request's context; the timeout of the HTTP client bounds it.
func (s *Server) fetch(address string, v any) error {
	r, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	return s.do(r, v)
}

// do sends a request and decodes the JSON response. Any status but 200 is an
// error.
func (s *Server) do(r *http.Request, v any) error {
	r.Header.Set("Accept", "application/json")
	response, err := s.cfg.HTTP.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s", r.Method, r.URL, response.Status)
	}
	// The size is bounded: a response must not fill the guard's memory.
	if err := json.NewDecoder(io.LimitReader(response.Body, maxDocument)).Decode(v); err != nil {
		return fmt.Errorf("%s %s: %w", r.Method, r.URL, err)
	}
	return nil
}
