package deviceauth

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// A SignOut is an upstream's notice that a person signed out there (OpenID
// Connect Back-Channel Logout 1.0 §2.4): all sessions of a subject, one
// session, or one session of a subject.
type SignOut struct {
	Upstream string
	Subject  string // as in a [Person]; empty where only a session is named
	Session  string // empty: all of the subject's
	At       time.Time
}

var errSignedOut = NewError("signed_out", "you signed out at the identity provider")

// SignOut ends everything that rests on the sign-ins a logout names, as far as
// they were begun before it: the person's sessions here, and the grants
// approved in them. What has no session of the upstream's ends with any of its
// subject's. A logout that is replayed says nothing about a sign-in since.
func (e *Engine) SignOut(ctx context.Context, l SignOut) error {
	owner := l.Subject // where the index finds those without a session, too
	if owner == "" {
		owner = SessionKey(l.Upstream, l.Session)
	}
	for _, name := range l.documentNames() {
		if err := e.recordSignOut(ctx, name, l.At); err != nil {
			return err
		}
	}
	e.emitEvent(Event{Name: EventSessionsEnded, Person: &Person{Subject: l.Subject}, Upstream: l.Upstream,
		Reason: ReasonSignedOut})
	now := e.now()
	grants, err := e.cfg.Store.ByOwner(ctx, owner)
	for _, g := range grants {
		if !l.means(g.Person, now) {
			continue
		}
		if ended := e.end(ctx, g.ID, ReasonSignedOut, anyOwner); !errors.Is(ended, ErrNotFound) {
			err = errors.Join(err, ended) // the others are to end all the same
		}
	}
	return err
}

// means reports whether a sign-in is one that the logout ends.
func (l SignOut) means(p *Person, now time.Time) bool {
	return p != nil && p.Upstream == l.Upstream && (l.Subject == "" || p.Subject == l.Subject) &&
		(l.Session == "" || p.Session == "" || p.Session == l.Session) && !p.signedInSince(l.At, now)
}

// documentNames are the names under which a sign-out is stored.
func (l SignOut) documentNames() []string {
	switch {
	case l.Session == "":
		return []string{l.Subject}
	case l.Subject == "":
		return []string{SessionKey(l.Upstream, l.Session)}
	}
	return []string{SessionKey(l.Upstream, l.Session), sessionless(l.Subject)}
}

// signedInSince reports whether a sign-in was begun after a sign-out. One of a day to
// come, begun by a clock that was ahead, was not: nothing could end it until then.
func (p *Person) signedInSince(at, now time.Time) bool {
	return p.SignedIn.After(at) && !p.SignedIn.After(now.Add(maxClockSkew))
}

// sessionless names the sign-ins of a subject in no session that is known. No
// subject begins like it.
func sessionless(subject string) string { return "none:" + subject }

// signOutNames are the names under which a sign-out of a person may be stored.
func (p *Person) signOutNames() []string {
	if p.Session == "" {
		return []string{p.Subject, sessionless(p.Subject)}
	}
	return p.Owners()
}

// signOuts are the times of the latest sign-outs by name: one of 256
// documents, so that many people who sign out at once do not wait for each
// other.
type signOuts map[string]time.Time

func signOutDocument(name string) string {
	sum := sha256.Sum256([]byte(name))
	return "signed-out-" + hex.EncodeToString(sum[:1])
}

// signOutKept is how long a sign-out is remembered: the longest that any
// configuration lets a session live, and an hour for a sign-in that was under way.
const signOutKept = maxSession + time.Hour

// recordSignOut remembers a sign-out, and forgets those that no session can be older than.
func (e *Engine) recordSignOut(ctx context.Context, name string, at time.Time) error {
	if e.cfg.Documents == nil {
		return errors.New("there is no document store to remember a sign-out")
	}
	now := e.now()
	return e.cfg.Documents.UpdateDocument(ctx, signOutDocument(name), func(old []byte) ([]byte, error) {
		all, err := decodeSignOuts(old)
		if err != nil {
			return nil, err
		}
		all.settle(now)
		if all[name].Before(at) {
			all[name] = at
		}
		return json.Marshal(all)
	})
}

// settle forgets those that no session can be older than. One of a day to come, noted
// by a clock that was ahead, was now at the latest: it would keep the person out.
func (all signOuts) settle(now time.Time) {
	for name, at := range all {
		switch {
		case at.Before(now.Add(-signOutKept)):
			delete(all, name)
		case at.After(now.Add(maxClockSkew)):
			all[name] = now
		}
	}
}

// decodeSignOuts reads the stored form. Whatever it is, the map can be written to.
func decodeSignOuts(document []byte) (signOuts, error) {
	all := signOuts{}
	if len(document) == 0 {
		return all, nil
	}
	if err := json.Unmarshal(document, &all); err != nil {
		return nil, fmt.Errorf("reading who signed out: %w", err)
	}
	if all == nil { // the document is null
		all = signOuts{}
	}
	return all, nil
}

// stillSignedIn refuses a person who signed out at the upstream since.
func (e *Engine) stillSignedIn(ctx context.Context, p *Person) error {
	if e.cfg.Documents == nil {
		return nil
	}
	now := e.now()
	for _, name := range p.signOutNames() {
		document, err := e.cfg.Documents.LoadDocument(ctx, signOutDocument(name))
		if err != nil {
			return err
		}
		all, err := decodeSignOuts(document)
		if err != nil {
			return err
		}
		at, known := all[name]
		if at.After(now.Add(maxClockSkew)) {
			if err := e.recordSignOut(ctx, name, now); err != nil { // once: from then on it is of today
				return err
			}
			at = now
		}
		if known && !p.signedInSince(at, now) {
			return errSignedOut
		}
	}
	return nil
}
