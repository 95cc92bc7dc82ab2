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

// A Logout is an upstream saying that somebody signed out there (OpenID
// Connect Back-Channel Logout 1.0 §2.4): all sessions of a subject, one
// session, or one session of a subject.
type Logout struct {
	Upstream string
	Subject  string // as in a [Person]; empty where only a session is named
	Session  string // empty: all of the subject's
	Token    string // the logout token's jti, by which a replay is known
}

// MaxSession bounds how long anybody may stay signed in: a sign-out is
// remembered as long.
const MaxSession = 30 * day

var errSignedOut = Refuse("signed_out", "you signed out at the identity provider")

// SignOut ends everything that came of the sign-ins a logout names: the
// person's sessions here, and the grants approved in them. A grant whose
// upstream named no session ends with any of its subject's. A replayed logout
// does nothing.
func (e *Engine) SignOut(ctx context.Context, l Logout) error {
	owner := l.owner()
	now := e.now()
	fresh, err := e.mark(ctx, owner, signOut{At: now}, l.Token)
	if err != nil || !fresh {
		return err
	}
	if l.Subject != "" {
		owner = l.Subject // where the index finds those without a session, too
	}
	grants, err := e.cfg.Store.ByOwner(ctx, owner)
	if err != nil {
		return err
	}
	for _, g := range grants {
		if !l.means(g.Person) {
			continue
		}
		if err := e.end(ctx, g.ID, ReasonSignedOut, anybodys); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	// Only now, so that an upstream that tries again after a fault is heard.
	_, err = e.mark(ctx, l.owner(), signOut{At: now, Token: l.Token}, l.Token)
	return err
}

// owner is under which of a person's names the logout is kept.
func (l Logout) owner() string {
	if l.Session != "" {
		return SessionKey(l.Upstream, l.Session)
	}
	return l.Subject
}

// means reports whether a sign-in is one that the logout ends.
func (l Logout) means(p *Person) bool {
	return p != nil && p.Upstream == l.Upstream && (l.Subject == "" || p.Subject == l.Subject) &&
		(l.Session == "" || p.Session == "" || p.Session == l.Session)
}

// A signOut is what is remembered of a logout.
type signOut struct {
	At    time.Time `json:"at"`
	Token string    `json:"jti,omitempty"`
}

// signOuts are the latest sign-outs by owner: one of 256 documents, so that
// many people who sign out at once do not wait for each other.
type signOuts map[string]signOut

func signOutDocument(owner string) string {
	sum := sha256.Sum256([]byte(owner))
	return "signed-out-" + hex.EncodeToString(sum[:1])
}

// mark remembers a sign-out and forgets those that no session can be older
// than. It reports false where the token has been seen.
func (e *Engine) mark(ctx context.Context, owner string, s signOut, token string) (fresh bool, err error) {
	if e.cfg.Vault == nil {
		return false, fmt.Errorf("a sign-out of %s: there is no vault to remember it", owner)
	}
	err = e.cfg.Vault.Change(ctx, signOutDocument(owner), func(old []byte) ([]byte, error) {
		all, err := decodeSignOuts(old)
		if err != nil {
			return nil, err
		}
		if fresh = token == "" || all[owner].Token != token; !fresh {
			return old, nil
		}
		for name, other := range all {
			if s.At.Sub(other.At) > MaxSession {
				delete(all, name)
			}
		}
		all[owner] = s
		return json.Marshal(all)
	})
	return fresh, err
}

func decodeSignOuts(document []byte) (signOuts, error) {
	all := signOuts{}
	if len(document) == 0 {
		return all, nil
	}
	if err := json.Unmarshal(document, &all); err != nil {
		return nil, fmt.Errorf("reading who signed out: %w", err)
	}
	return all, nil
}

// stillSignedIn refuses a person who signed out at the upstream since.
func (e *Engine) stillSignedIn(ctx context.Context, p *Person) error {
	if e.cfg.Vault == nil {
		return nil
	}
	for _, owner := range p.Owners() {
		gone := false
		err := e.cfg.Vault.Change(ctx, signOutDocument(owner), func(old []byte) ([]byte, error) {
			all, err := decodeSignOuts(old)
			s, known := all[owner]
			gone = known && !p.SignedIn.After(s.At)
			return old, err
		})
		if err != nil {
			return err
		}
		if gone {
			return errSignedOut
		}
	}
	return nil
}
