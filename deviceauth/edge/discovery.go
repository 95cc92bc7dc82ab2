package edge

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// A new key is published ten minutes before it signs, so a look every five
// finds it in time.
const (
	keysLife     = 5 * time.Minute
	keysPause    = 5 * time.Second // between two looks for a key that is not known: anybody can name one
	failurePause = time.Second     // in which a server that did not answer is not asked again
	maxDocument  = 1 << 20
)

// A discovery is what is known of the server. Its lock is held while the server
// is asked for what nobody can go on without.
type discovery struct {
	mu       sync.Mutex
	metadata *metadata
	keys     map[string]jose.JSONWebKey
	looked   time.Time // when the keys were last asked for
	failed   time.Time
	failure  error
}

// metadata are the members of RFC 8414 §2 that are needed here.
type metadata struct {
	Issuer     string `json:"issuer"`
	Keys       string `json:"jwks_uri"`
	Introspect string `json:"introspection_endpoint"`
}

// describe returns the server's metadata.
func (s *Server) describe() (*metadata, error) {
	d := &s.found
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.metadata != nil {
		return d.metadata, nil
	}
	if time.Since(d.failed) < failurePause {
		return nil, d.failure
	}
	m := new(metadata)
	err := s.fetch(wellKnown(s.cfg.Issuer), m)
	if err == nil {
		err = m.check(s.cfg.Issuer)
	}
	if err != nil {
		d.failed, d.failure = time.Now(), err
		return nil, err
	}
	d.metadata = m
	return m, nil
}

// doubt has the metadata fetched anew: what they said did not work.
func (s *Server) doubt() {
	s.found.mu.Lock()
	defer s.found.mu.Unlock()
	s.found.metadata = nil
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
		if err != nil || u.Scheme != "https" && (u.Scheme != "http" || !deviceauth.Loopback(u.Hostname())) {
			return fmt.Errorf("the metadata of %s have the %s %q: want an https URL", issuer, name, address)
		}
	}
	return nil
}

// key returns a published key. One that is not known is looked for, every few
// seconds at most; the known ones are looked at again from time to time, by the
// way: one that was withdrawn must stop to count.
func (s *Server) key(id string) (*jose.JSONWebKey, error) {
	m, err := s.describe()
	if err != nil {
		return nil, err
	}
	d := &s.found
	d.mu.Lock()
	defer d.mu.Unlock()
	key, known := d.keys[id]
	since := time.Since(d.looked)
	switch {
	case known && since >= keysLife:
		d.looked = time.Now()
		go s.renewKeys(m)
	case !known && since >= keysPause:
		d.looked = time.Now()
		keys, err := s.fetchKeys(m)
		if err != nil {
			return nil, err
		}
		d.keys = keys
		key, known = keys[id]
	}
	switch {
	case known:
		return &key, nil
	case d.keys == nil:
		return nil, fmt.Errorf("the keys of %s could not be fetched a moment ago", s.cfg.Issuer)
	}
	return nil, errBadToken
}

// renewKeys holds nobody up. It ends with its request.
func (s *Server) renewKeys(m *metadata) {
	keys, err := s.fetchKeys(m)
	if err != nil {
		return // the old ones go on; there will be another look
	}
	s.found.mu.Lock()
	defer s.found.mu.Unlock()
	s.found.keys = keys
}

func (s *Server) fetchKeys(m *metadata) (map[string]jose.JSONWebKey, error) {
	var set jose.JSONWebKeySet
	if err := s.fetch(m.Keys, &set); err != nil {
		return nil, fmt.Errorf("fetching the keys: %w", err)
	}
	keys := map[string]jose.JSONWebKey{}
	for _, key := range set.Keys {
		if key.Valid() && key.IsPublic() {
			keys[key.KeyID] = key
		}
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
