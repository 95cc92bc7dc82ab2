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

// A new key is published ten minutes before it signs, so a look every five
// finds it in time.
const (
	keysLife    = 5 * time.Minute
	keysPause   = 5 * time.Second // between two looks for a key that is not known: anybody can name one
	maxDocument = 1 << 20
)

// metadata are the members of RFC 8414 §2 that are needed here.
type metadata struct {
	Issuer     string `json:"issuer"`
	Keys       string `json:"jwks_uri"`
	Introspect string `json:"introspection_endpoint"`
}

// fetchMetadata asks the server to describe itself. That is done again when
// what it said did not work; until it answers, what it said goes on.
func (s *Server) fetchMetadata() (*metadata, error) {
	m := new(metadata)
	if err := s.fetch(wellKnown(s.cfg.Issuer), m); err != nil {
		return nil, err
	}
	return m, m.check(s.cfg.Issuer)
}

// wellKnown is where RFC 8414 §3.1 puts the metadata.
func wellKnown(issuer string) string {
	u, _ := url.Parse(issuer) // checked by Config.Check
	return u.Scheme + "://" + u.Host + "/.well-known/oauth-authorization-server" + strings.TrimSuffix(u.Path, "/")
}

func (m *metadata) check(issuer string) error {
	if m.Issuer != issuer {
		return fmt.Errorf("the metadata of %s say that it is %q (RFC 8414 §3.3)", issuer, m.Issuer)
	}
	for name, address := range map[string]string{"jwks_uri": m.Keys, "introspection_endpoint": m.Introspect} {
		u, err := url.Parse(address)
		if err != nil || u.Scheme != "https" && (u.Scheme != "http" || !discovery.IsLoopback(u.Hostname())) {
			return fmt.Errorf("the metadata of %s have the %s %q: want an https URL", issuer, name, address)
		}
	}
	return nil
}

// keySet are the published keys by their ids.
type keySet map[string]jose.JSONWebKey

// key returns a published key, and waits for nothing where it is known. One
// that is not is looked for, every few seconds at most; the known ones are
// looked at again from time to time, by the way: one that was withdrawn must
// stop to count.
func (s *Server) key(ctx context.Context, id string) (*jose.JSONWebKey, error) {
	keys, asked := s.keys.known()
	if key, known := keys[id]; known {
		if time.Since(asked) >= keysLife {
			s.keys.renew()
		}
		return &key, nil
	}
	keys, err := s.keys.newer(ctx)
	if err != nil {
		return nil, err // it may well be the server's
	}
	if key, known := keys[id]; known {
		return &key, nil
	}
	return nil, deviceauth.ErrBadToken
}

func (s *Server) fetchKeys() (keySet, error) {
	m, err := s.metadata.get(context.Background()) // for all who wait for the keys; the client's time-out ends it
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
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s has no key that is good for anything", m.Keys)
	}
	return keys, nil
}

// fetch gets a JSON document. It is for all who wait, whatever becomes of the
// request that caused it; the client's time-out ends it.
func (s *Server) fetch(address string, v any) error {
	r, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	return s.do(r, v)
}

// do sends a request and decodes the answer.
func (s *Server) do(r *http.Request, v any) error {
	r.Header.Set("Accept", "application/json")
	answer, err := s.cfg.HTTP.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s", r.Method, r.URL, answer.Status)
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxDocument)).Decode(v); err != nil {
		return fmt.Errorf("%s %s: %w", r.Method, r.URL, err)
	}
	return nil
}
