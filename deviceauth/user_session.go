package deviceauth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// A Session is a person who is signed in at the pages, in one browser. It is in
// the store, under a digest of its id, so that it can be ended there and the
// browser keeps nothing but the id.
type Session struct {
	ID      string       `json:"-"`       // 128 bits of randomness, for the browser alone
	Person  *Person      `json:"person"`  // who signed in, with the claims
	From    []netip.Addr `json:"from"`    // where this person signed in with this browser, the latest last
	Expires time.Time    `json:"expires"` // Lifetime.Session after the latest sign-in
}

// maxSignInsFrom bounds the addresses of a session: of a phone that goes from
// one network to another, the latest count.
const maxSignInsFrom = 8

var (
	errNoDocuments  = errors.New("there is no document store to keep sessions in")
	errOtherNetwork = NewError("moved", "the browser is in another network than at the sign-in; sign in again")
)

// sessionDocument names a session in the store. Who reads the store learns no id.
func sessionDocument(id string) string {
	sum := sha256.Sum256([]byte(id))
	return "session-" + hex.EncodeToString(sum[:])
}

// BeginSession keeps a person signed in for Lifetime.Session. before is the
// session that the browser had, or nil: it ends, and where it was the same
// person's its networks stay known.
func (e *Engine) BeginSession(ctx context.Context, p *Person, from netip.Addr, before *Session) (*Session, error) {
	if e.cfg.Documents == nil {
		return nil, errNoDocuments
	}
	s := &Session{ID: rand.Text(), Person: p, Expires: e.now().Add(e.cfg.Lifetime.Session)}
	if before != nil {
		if before.Person.Subject == p.Subject {
			s.From = append(s.From, before.From...)
		}
		if err := e.EndSession(ctx, before.ID); err != nil {
			return nil, err
		}
	}
	s.From = append(s.From, from)
	s.From = s.From[max(0, len(s.From)-maxSignInsFrom):]
	document, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	return s, e.cfg.Documents.PutDocument(ctx, sessionDocument(s.ID), document, s.Expires)
}

// FindSession returns a session, or nil where it has ended or there never was one.
func (e *Engine) FindSession(ctx context.Context, id string) (*Session, error) {
	if e.cfg.Documents == nil || id == "" {
		return nil, nil
	}
	document, err := e.cfg.Documents.LoadDocument(ctx, sessionDocument(id))
	if err != nil || document == nil {
		return nil, err
	}
	s := &Session{ID: id}
	if err := json.Unmarshal(document, s); err != nil {
		return nil, fmt.Errorf("reading a session: %w", err)
	}
	if s.Person == nil || !e.now().Before(s.Expires) {
		return nil, nil
	}
	return s, nil
}

// EndSession signs a browser out. A session that is not there has ended.
func (e *Engine) EndSession(ctx context.Context, id string) error {
	if e.cfg.Documents == nil {
		return errNoDocuments
	}
	return e.cfg.Documents.PutDocument(ctx, sessionDocument(id), nil, time.Time{})
}

// EndSessions ends the sessions of a subject in all browsers: what was begun by
// now is over. by is the operator's name, for the audit log, or empty.
func (e *Engine) EndSessions(ctx context.Context, subject, by string) error {
	if err := e.recordSignOut(ctx, subject, e.now()); err != nil {
		return err
	}
	upstream, _, _ := strings.Cut(subject, "|")
	e.emitEvent(Event{Name: EventSessionsEnded, Person: &Person{Subject: subject}, Upstream: upstream, By: by,
		Reason: ReasonOperator})
	return nil
}

// CheckNetwork refuses a decision from a network where the session's person has not
// signed in with this browser: a session that somebody else took along decides
// nothing. Where the server is told no address, as behind a Unix socket without
// trusted proxies, there is nothing to compare. Refusals: moved.
func (e *Engine) CheckNetwork(s *Session, here netip.Addr) error {
	for _, from := range s.From {
		if e.sameNetwork(from, here) || !from.IsValid() && !here.IsValid() {
			return nil
		}
	}
	return errOtherNetwork
}
