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

// A SignOut is a notice of an upstream that a person signed out there (OpenID Connect
// Back-Channel Logout 1.0 §2.4): from all sessions of a subject, from one session, or
// from one session of a subject.
type SignOut struct {
	Upstream string
	Subject  string // as in a [Person]; empty if only a session is named
	Session  string // empty: all of the subject's
	At       time.Time
}

var errSignedOut = NewError("signed_out", "you signed out at the identity provider")

// SignOut ends everything that is based on the sign-ins that a sign-out names, if
// they were started before it: the person's sessions here, and the grants approved in
// them. Sign-ins without a session at the upstream end with any sign-out of their
// subject. A replayed sign-out does not affect later sign-ins.
func (e *Engine) SignOut(ctx context.Context, l SignOut) error {
	owner := l.Subject // its index also has the grants without a session
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
		if !l.ends(g.Person, now) {
			continue
		}
		if ended := e.end(ctx, g.ID, ReasonSignedOut, anyOwner); !errors.Is(ended, ErrNotFound) {
			err = errors.Join(err, ended) // the others must end all the same
		}
	}
	return err
}

// ends reports whether the sign-out ends a sign-in.
func (l SignOut) ends(p *Person, now time.Time) bool {
	return p != nil && p.Upstream == l.Upstream && (l.Subject == "" || p.Subject == l.Subject) &&
		(l.Session == "" || p.Session == "" || p.Session == l.Session) && !p.signedInSince(l.At, now)
}

// documentNames returns the names under which the sign-out is stored.
func (l SignOut) documentNames() []string {
	switch {
	case l.Session == "":
		return []string{l.Subject}
	case l.Subject == "":
		return []string{SessionKey(l.Upstream, l.Session)}
	}
	return []string{SessionKey(l.Upstream, l.Session), sessionless(l.Subject)}
}

// signedInSince reports whether a sign-in was started after a sign-out. A time in the
// future, set by a clock that was ahead, does not count: nothing could end the
// sign-in until then.
func (p *Person) signedInSince(at, now time.Time) bool {
	return p.SignedIn.After(at) && !p.SignedIn.After(now.Add(maxClockSkew))
}

// sessionless returns the name for sign-ins of a subject without a known session. It
// is never equal to a subject.
func sessionless(subject string) string { return "none:" + subject }

// signOutNames returns the names under which a sign-out of the person may be stored.
func (p *Person) signOutNames() []string {
	if p.Session == "" {
		return []string{p.Subject, sessionless(p.Subject)}
	}
	return p.Owners()
}

// signOuts are the times of the latest sign-outs by name. They are distributed over
// 256 documents, so that many simultaneous sign-outs do not block each other.
type signOuts map[string]time.Time

func signOutDocument(name string) string {
	sum := sha256.Sum256([]byte(name))
	return "signed-out-" + hex.EncodeToString(sum[:1])
}

// signOutKept is how long a sign-out is stored: the longest lifetime of a session
// with any configuration, and an hour for a sign-in that was in progress.
const signOutKept = maxSession + time.Hour

// recordSignOut stores a sign-out, and removes those that are older than any session.
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

// settle removes sign-outs that are older than any session. A time in the future,
// recorded by a clock that was ahead, is set to now: otherwise the person could not
// sign in until then.
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

// decodeSignOuts decodes a stored document. The map that it returns is never nil
// without an error.
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

// stillSignedIn refuses a person who has signed out at the upstream since their
// sign-in.
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
			if err := e.recordSignOut(ctx, name, now); err != nil { // once: the stored time is now from then on
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
