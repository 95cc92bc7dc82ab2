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

// A Session is a sign-in of a person at the pages with one browser. It is stored
// under a digest of its id, so that it can be ended in the store. The browser keeps
// only the id.
type Session struct {
	ID      string       `json:"-"`       // 128 random bits, known only to the browser
	Person  *Person      `json:"person"`  // who signed in, with the claims
	From    []netip.Addr `json:"from"`    // addresses of this person's sign-ins with this browser, the latest last
	Expires time.Time    `json:"expires"` // Lifetime.Session after the latest sign-in
}

// maxSignInsFrom limits the addresses of a session to the latest ones, since a phone
// may change its network often.
const maxSignInsFrom = 8

var (
	errNoDocuments  = errors.New("there is no document store to keep sessions in")
	errOtherNetwork = NewError("moved", "the browser is in another network than at the sign-in; sign in again")
)

// sessionDocument returns the name of a session's document. The id cannot be derived
// from it.
func sessionDocument(id string) string {
	sum := sha256.Sum256([]byte(id))
	return "session-" + hex.EncodeToString(sum[:])
}

// BeginSession starts a session of a person for Lifetime.Session. before is the
// session that the browser had, or nil. It is ended, and its addresses are kept if it
// was of the same person.
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

// FindSession returns a session, or nil if it has ended or never existed.
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

// EndSession ends a session. It is no error if the session does not exist.
func (e *Engine) EndSession(ctx context.Context, id string) error {
	if e.cfg.Documents == nil {
		return errNoDocuments
	}
	return e.cfg.Documents.PutDocument(ctx, sessionDocument(id), nil, time.Time{})
}

// EndSessions ends all sessions of a subject, in all browsers, that have been started
// by now. by is the operator's name for the audit log, or empty.
func (e *Engine) EndSessions(ctx context.Context, subject, by string) error {
	if err := e.recordSignOut(ctx, subject, e.now()); err != nil {
		return err
	}
	upstream, _, _ := strings.Cut(subject, "|")
	e.emitEvent(Event{Name: EventSessionsEnded, Person: &Person{Subject: subject}, Upstream: upstream, By: by,
		Reason: ReasonOperator})
	return nil
}

// CheckNetwork refuses a decision from a network in which the session's person has
// not signed in with this browser, so that a stolen session cannot be used elsewhere.
// If the server knows no addresses, as behind a Unix socket without trusted proxies,
// there is nothing to compare. Refusals: moved.
func (e *Engine) CheckNetwork(s *Session, here netip.Addr) error {
	for _, from := range s.From {
		if e.sameNetwork(from, here) || !from.IsValid() && !here.IsValid() {
			return nil
		}
	}
	return errOtherNetwork
}
