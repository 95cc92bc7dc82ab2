package deviceauth

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"
)

// Registration configures which clients may introduce themselves. The zero value
// allows none.
type Registration struct {
	// Documents are the hosts whose client metadata documents are accepted, with *
	// for any text. A client_id is then the https URL of its document.
	Documents []string
	// Fetch fetches such a document (see package clientdocument). nil: documents are
	// not used.
	Fetch func(ctx context.Context, url string) ([]byte, error)
	Open  bool   // any client may register (RFC 7591 §3)
	Token Secret // initial access token: requests with it may register clients (RFC 7591 §3)
	Scope Scope  // the scopes that such clients may request
	Limit int    // of clients that are registered; default 1000
}

// Registers reports whether clients may register (RFC 7591).
func (r Registration) Registers() bool { return r.Open || r.Token != "" }

// enabled reports whether clients may introduce themselves in any way.
func (r Registration) enabled() bool { return r.Registers() || len(r.Documents) > 0 }

// check checks the configuration of registration.
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
	case r.enabled() && r.Scope == "":
		return errors.New("registration: scopes are missing: want all that such clients may ask for")
	case len(r.Scope) > maxScopes:
		return fmt.Errorf("registration: want scopes of at most %d bytes together", maxScopes)
	case r.Limit < 0:
		return fmt.Errorf("registration limit %d: want a positive number", r.Limit)
	}
	return nil
}

// A clientRecord is the stored state of a client that introduced itself. A client
// with a metadata document has a record only after a person or the operator has
// approved it.
type clientRecord struct {
	ID         string         `json:"id"`
	Metadata   ClientMetadata `json:"metadata,omitzero"` // of a client with a metadata document: its latest content
	Secret     Digest         `json:"secret,omitzero"`   // of a confidential client
	Token      Digest         `json:"token,omitzero"`    // its registration access token (RFC 7592)
	Registered time.Time      `json:"registered"`
	Used       time.Time      `json:"used,omitzero"`     // when a person last approved it; may be up to a day old
	Approved   Digest         `json:"approved,omitzero"` // [ClientMetadata.shown] when the operator approved it
	Removed    bool           `json:"removed,omitempty"` // it is being removed, and its grants are ended
}

// parseRecord parses the stored record of a client.
func parseRecord(document []byte, id string) (*clientRecord, error) {
	r := new(clientRecord)
	err := json.Unmarshal(document, r)
	if err == nil && r.ID != id {
		err = errors.New("it is of another client")
	}
	if err != nil {
		return nil, fmt.Errorf("the store's record of client %s cannot be read: %w", Quotable(id), err)
	}
	return r, nil
}

// vouches reports whether the operator vouches for the client with this metadata. If
// a client changes what people are shown, it must be checked anew.
func (r *clientRecord) vouches(m ClientMetadata) bool {
	return r.Approved != (Digest{}) && r.Approved == m.shown()
}

// unusedLife is how long a client is kept that neither a person nor the operator
// approves.
const unusedLife = day

// isOver reports whether the record is treated as absent: it is being removed, or has
// expired because neither a person nor the operator approved the client in time.
func (r *clientRecord) isOver(now time.Time) bool {
	return r.Removed || r.Used.IsZero() && r.Approved == (Digest{}) && now.Sub(r.Registered) > unusedLife
}

// clientDocument is the name of a client's document in the store.
func clientDocument(id string) string {
	sum := sha256.Sum256([]byte(id))
	return "client." + hex.EncodeToString(sum[:16])
}

// clientKnown is how long a gateway uses a client that it has read.
const clientKnown = time.Second

// maxKnownClients bounds the number of clients in the cache of a gateway.
const maxKnownClients = 10_000

// clientCache caches clients that introduced themselves and were looked up lately.
type clientCache struct {
	mu    sync.Mutex
	known map[string]knownClient
}

type knownClient struct {
	client *Client
	at     time.Time
}

// get returns a cached client, of any age.
func (c *clientCache) get(id string) (knownClient, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found, ok := c.known[id]
	return found, ok
}

// put caches a client; a nil client is removed from the cache. If the cache is full,
// clients are dropped that were cached more than a minute ago, or else all.
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

// expire makes the next request look the client up again.
func (c *clientCache) expire(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if found, ok := c.known[id]; ok {
		c.known[id] = knownClient{client: found.client}
	}
}

// client returns a client of the configuration, or a client that introduced itself
// and is in the cache of [Engine.loadClient]; nil if there is none.
func (e *Engine) client(id string) *Client {
	if c := e.clients[id]; c != nil {
		return c
	}
	found, _ := e.introduced.get(id)
	return found.client
}

// hasClient reports whether a client exists or may exist. A client that introduced
// itself is not looked up for a guard, because its removal ends its grants.
func (e *Engine) hasClient(id string) bool {
	return e.clients[id] != nil || e.introduces(id)
}

// introduces reports whether an id has the form of a client that introduces itself.
func (e *Engine) introduces(id string) bool {
	r := &e.cfg.Registration
	return strings.HasPrefix(id, registeredPrefix) && r.Registers() || e.hasDocument(id)
}

// loadClient returns a client, or nil if there is none. A client that introduces
// itself is looked up in the store or by its metadata document. A *Error means that
// its document is refused; any other error is a fault, after which nothing is known of
// the client.
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
	r, err := parseRecord(document, id)
	if err != nil || r.isOver(e.now()) {
		return nil, err
	}
	return r, nil
}

// changeRecord changes the record of a client. change receives nil if there is none;
// what it returns is stored, and nil leaves the record as it is.
func (e *Engine) changeRecord(
	ctx context.Context, id string, change func(*clientRecord) (*clientRecord, error),
) error {
	err := e.cfg.Documents.UpdateDocument(ctx, clientDocument(id), func(old []byte) ([]byte, error) {
		var r *clientRecord
		if old != nil {
			var err error
			if r, err = parseRecord(old, id); err != nil || r.isOver(e.now()) {
				r = nil // an unreadable record counts as lost
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

// registeredClient returns the client of a registration. It has no host: a
// client may claim any client_uri, and any redirect URI besides the one that it uses.
func (e *Engine) registeredClient(r *clientRecord) *Client {
	return e.introducedClient(r.ID, "", r.Metadata, r)
}

// introducedClient returns the client with this metadata, and with the scopes that
// such clients may have now. Its logo is shown only after the operator has approved
// it: the client chooses the picture, and the server of the picture learns who sees
// it.
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
