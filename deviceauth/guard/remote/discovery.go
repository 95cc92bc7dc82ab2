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

// fetchMetadata fetches the server's metadata. It is called again when something
// that the metadata named did not work; until a fetch succeeds, the metadata
// before stay in use.
func (s *Server) fetchMetadata() (*metadata, error) {
	m := new(metadata)
	if err := s.fetch(wellKnown(s.cfg.Issuer), m); err != nil {
		return nil, err
	}
	return m, m.check(s.cfg.Issuer)
}

// wellKnown is the URL of the metadata (RFC 8414 §3.1): the well-known path
// comes before the issuer's own path.
func wellKnown(issuer string) string {
	u, _ := url.Parse(issuer) // checked by Config.Check
	return u.Scheme + "://" + u.Host + "/.well-known/oauth-authorization-server" + strings.TrimSuffix(u.Path, "/")
}

// check wants the metadata of this very issuer (RFC 8414 §3.3), and endpoints
// with TLS: the guard sends tokens and its secret there.
func (m *metadata) check(issuer string) error {
	if m.Issuer != issuer {
		return fmt.Errorf("the metadata of %s say that it is %q (RFC 8414 §3.3)", issuer, m.Issuer)
	}
	// Both endpoints are called with secrets or decide about tokens, so only a
	// loopback host may do without TLS.
	for name, address := range map[string]string{"jwks_uri": m.Keys, "introspection_endpoint": m.Introspect} {
		u, err := url.Parse(address)
		if err != nil || u.Scheme != "https" && (u.Scheme != "http" || !discovery.IsLoopback(u.Hostname())) {
			return fmt.Errorf("the metadata of %s have the %s %q: want an https URL", issuer, name, address)
		}
	}
	return nil
}

// keySet are the published keys by key id.
type keySet map[string]jose.JSONWebKey

// key returns a published key, and waits for nothing where the key is known. An
// unknown key is fetched, at most once in keysPause for all requests. Known keys
// are fetched again in the background when they are older than keysLife: a key
// that was withdrawn must stop being valid.
func (s *Server) key(ctx context.Context, id string) (*jose.JSONWebKey, error) {
	keys, asked := s.keys.known()
	if key, known := keys[id]; known {
		if time.Since(asked) >= keysLife {
			// The request does not wait for this fetch: the key that is known is
			// used meanwhile.
			s.keys.renew()
		}
		return &key, nil
	}
	keys, err := s.keys.newer(ctx)
	if err != nil {
		return nil, err // a fault and no refusal: the key may be the server's
	}
	if key, known := keys[id]; known {
		return &key, nil
	}
	return nil, deviceauth.ErrBadToken
}

// fetchKeys fetches the JWK Set (RFC 7517 §5). Keys that are private, symmetric
// or without an id are left out: a published secret verifies nothing.
func (s *Server) fetchKeys() (keySet, error) {
	m, err := s.metadata.get(context.Background()) // shared by all who wait; the HTTP client's timeout ends it
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
	// An empty set is a fault: it would refuse every token.
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s has no key that is good for anything", m.Keys)
	}
	return keys, nil
}

// fetch gets a JSON document. The result is shared by all requests that wait, so
// it has no request's context; the HTTP client's timeout ends it.
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
