package deviceauth

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Registration says which clients may introduce themselves. The zero value: none.
type Registration struct {
	// Documents are the hosts whose client metadata documents are read, with * for any
	// text: a client_id is then the https URL of its document.
	Documents []string
	// Fetch gets such a document (see package clientdocument). nil: none are read.
	Fetch func(ctx context.Context, url string) ([]byte, error)
	Open  bool   // any client may register (RFC 7591 §3)
	Token Secret // initial access token: requests with it may register clients (RFC 7591 §3)
	Scope Scope  // all that such clients may ask for
	Limit int    // of clients that are registered; default 1000
}

// Registers reports whether clients may register (RFC 7591).
func (r Registration) Registers() bool { return r.Open || r.Token != "" }

// on reports whether any client may introduce itself.
func (r Registration) on() bool { return r.Registers() || len(r.Documents) > 0 }

// check says what is wrong with the configuration of registration.
func (r Registration) check() error {
	for _, host := range r.Documents {
		if host == "" || strings.ContainsAny(host, "/@ ") || strings.Trim(host, "*.") == "" {
			return fmt.Errorf("registration documents %q: want a host such as client.example.com or *.example.com",
				host)
		}
	}
	switch {
	case r.Open && r.Token != "":
		return errors.New("registration: want open or token, not both")
	case r.on() && r.Scope == "":
		return errors.New("registration: scopes are missing: want all that such clients may ask for")
	case r.Limit < 0:
		return fmt.Errorf("registration limit %d: want a positive number", r.Limit)
	}
	return nil
}

// A clientRecord is what the store has of a client that introduced itself. Of a client
// with a metadata document that is there once a person or the operator has decided
// something about it.
type clientRecord struct {
	ID         string         `json:"id"`
	Metadata   ClientMetadata `json:"metadata,omitzero"` // of a client with a document, as it was last
	Secret     Digest         `json:"secret,omitzero"`   // of a confidential client
	Token      Digest         `json:"token,omitzero"`    // its registration access token (RFC 7592)
	Registered time.Time      `json:"registered"`
	Used       time.Time      `json:"used,omitzero"`     // when a person allowed it last; a day may be missing
	Approved   Digest         `json:"approved,omitzero"` // of what the operator vouches for, see [ClientMetadata.shown]
}

// vouches reports whether the operator vouches for a client that says this of itself. A
// client that says something else has to be looked at anew.
func (r *clientRecord) vouches(m ClientMetadata) bool {
	return r.Approved != (Digest{}) && r.Approved == m.shown()
}

// unusedLife is how long a client is remembered that no person allows.
const unusedLife = day

// forgotten reports whether the record is over: no person allowed the client in time.
func (r *clientRecord) forgotten(now time.Time) bool {
	return r.Used.IsZero() && r.Approved == (Digest{}) && now.Sub(r.Registered) > unusedLife
}

// clientDocument is the name of a client's document in the store.
func clientDocument(id string) string {
	sum := sha256.Sum256([]byte(id))
	return "client." + hex.EncodeToString(sum[:16])
}

// clientKnown is how long a gateway goes by what it read of a client.
const clientKnown = time.Second

// maxKnownClients bounds the clients that a gateway remembers.
const maxKnownClients = 10_000

// clientCache remembers clients that introduced themselves, and were looked up lately.
type clientCache struct {
	mu    sync.Mutex
	known map[string]knownClient
}

type knownClient struct {
	client *Client
	at     time.Time
}

// get returns what is known, however old.
func (c *clientCache) get(id string) (knownClient, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found, ok := c.known[id]
	return found, ok
}

// put remembers a client; nil forgets it. Where there are too many, those go that no person
// asked for in a while, and else any.
func (c *clientCache) put(id string, client *Client, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if client == nil {
		delete(c.known, id)
		return
	}
	if c.known == nil {
		c.known = map[string]knownClient{}
	}
	for _, age := range []time.Duration{time.Minute, 0} {
		if len(c.known) < maxKnownClients {
			break
		}
		maps.DeleteFunc(c.known, func(_ string, k knownClient) bool { return now.Sub(k.at) >= age })
	}
	c.known[id] = knownClient{client: client, at: now}
}

// expire has a client looked up again at the next request.
func (c *clientCache) expire(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if found, ok := c.known[id]; ok {
		c.known[id] = knownClient{client: found.client}
	}
}

// client returns a client of the configuration, or one that introduced itself and that
// [Engine.loadClient] found lately; nil: there is none.
func (e *Engine) client(id string) *Client {
	if c := e.clients[id]; c != nil {
		return c
	}
	found, _ := e.introduced.get(id)
	return found.client
}

// hasClient reports whether there is, or may be, a client: one that introduced itself is
// not looked up for a guard, because its removal ends its grants.
func (e *Engine) hasClient(id string) bool {
	return e.clients[id] != nil || e.introduces(id)
}

// introduces reports whether an id is one of a client that introduces itself.
func (e *Engine) introduces(id string) bool {
	r := &e.cfg.Registration
	return strings.HasPrefix(id, registeredPrefix) && r.Registers() || e.hasDocument(id)
}

// loadClient returns a client, and looks it up where it introduces itself: in the store,
// or by its document. nil: there is none. A fault is one of the store's, and a *Error
// that the client's document is refused.
func (e *Engine) loadClient(ctx context.Context, id string) (*Client, error) {
	if c := e.clients[id]; c != nil || !e.introduces(id) || e.cfg.Documents == nil {
		return c, nil
	}
	now := e.now()
	if found, ok := e.introduced.get(id); ok && now.Sub(found.at) < clientKnown && !now.Before(found.at) {
		return found.client, nil
	}
	record, err := e.loadRecord(ctx, id)
	if err != nil {
		return nil, err
	}
	var client *Client
	switch {
	case e.hasDocument(id):
		if client, err = e.documentClient(ctx, id, record); err != nil {
			return nil, err
		}
	case record != nil:
		client = e.registeredClient(record)
	}
	e.introduced.put(id, client, now)
	return client, nil
}

// loadRecord returns the record of a client, or nil.
func (e *Engine) loadRecord(ctx context.Context, id string) (*clientRecord, error) {
	document, err := e.cfg.Documents.LoadDocument(ctx, clientDocument(id))
	if err != nil || document == nil {
		return nil, err
	}
	r := new(clientRecord)
	err = json.Unmarshal(document, r)
	if err == nil && r.ID != id {
		err = errors.New("it is of another client")
	}
	if err != nil {
		return nil, fmt.Errorf("the store's record of client %s cannot be read: %w", Quotable(id), err)
	}
	if r.forgotten(e.now()) {
		return nil, nil
	}
	return r, nil
}

// changeRecord changes the record of a client: change is given nil where there is none,
// and what it returns is kept; nil leaves the record as it is.
func (e *Engine) changeRecord(
	ctx context.Context, id string, change func(*clientRecord) (*clientRecord, error),
) error {
	err := e.cfg.Documents.UpdateDocument(ctx, clientDocument(id), func(old []byte) ([]byte, error) {
		var r *clientRecord
		if old != nil {
			r = new(clientRecord)
			if err := json.Unmarshal(old, r); err != nil || r.ID != id || r.forgotten(e.now()) {
				r = nil // what cannot be read is as good as lost
			}
		}
		after, err := change(r)
		if err != nil || after == nil {
			return old, err
		}
		return json.Marshal(after)
	})
	if err == nil {
		e.introduced.expire(id)
	}
	return err
}

// registeredClient is a client as it registered.
func (e *Engine) registeredClient(r *clientRecord) *Client {
	host := ""
	for _, uri := range r.Metadata.RedirectURIs { // where its answers go; client_uri proves nothing
		if u, err := url.Parse(uri); err == nil && u.Scheme == "https" {
			host = u.Host
			break
		}
	}
	return e.introducedClient(r.ID, host, r.Metadata, r)
}

// introducedClient is the client of what was said, with the scopes that such clients may
// have now. Its logo is shown once the operator vouches for it: it is a picture that the
// client chose, at an address that learns who looks.
func (e *Engine) introducedClient(id, host string, m ClientMetadata, r *clientRecord) *Client {
	c := &Client{
		ID: id, Name: m.Name, Vendor: m.Author, Public: m.AuthMethod == "none", Redirects: m.RedirectURIs,
		BrowserOnly: !m.has(grantDevice), Introduced: true, Checked: r.vouches(m), Host: host,
		secret: r.Secret, metadata: m, used: r.Used,
	}
	if scope, err := m.scopes(e.cfg.Registration.Scope); err == nil {
		c.Scope = scope
	}
	orDefault(&c.Name, host)
	orDefault(&c.Name, id)
	if c.Checked {
		c.Logo = m.LogoURI
	}
	return c
}
