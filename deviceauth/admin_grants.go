package deviceauth

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// The operator's view of the grants of all people, and operations on them.

// A Standing is the state of a grant at a certain time.
type Standing string

// The standings of a grant. A connected device can use its tokens; the grant of a
// device that let all of them expire has expired.
const (
	StandingPending   Standing = "pending"
	StandingApproved  Standing = "approved"
	StandingConnected Standing = "connected"
	StandingDenied    Standing = "denied"
	StandingRevoked   Standing = "revoked"
	StandingExpired   Standing = "expired"
)

// Values of [Filter] that stand for several standings.
const (
	StandingLive  Standing = "live"  // pending, approved or connected
	StandingEnded Standing = "ended" // denied, revoked or expired
)

var (
	live  = []Standing{StandingPending, StandingApproved, StandingConnected}
	ended = []Standing{StandingDenied, StandingRevoked, StandingExpired}
)

// A Filter selects grants. An empty field selects all.
type Filter struct {
	Client   string   // a client's id
	Person   string   // a subject, or a user as backends know them
	Standing Standing // one standing, live or ended
}

func (f Filter) check() error {
	known := append(slices.Concat(live, ended), StandingLive, StandingEnded)
	if f.Standing == "" || slices.Contains(known, f.Standing) {
		return nil
	}
	var words []string
	for _, s := range known {
		words = append(words, string(s))
	}
	return NewError("invalid_request", "state: want one of: "+strings.Join(words, ", "))
}

func (f Filter) wants(g *Grant, now time.Time) bool {
	if f.Client != "" && g.ClientID != f.Client {
		return false
	}
	if f.Person != "" && (g.Person == nil || g.Person.Subject != f.Person && g.Person.User != f.Person) {
		return false
	}
	switch standing := g.Standing(now); f.Standing {
	case "":
		return true
	case StandingLive:
		return slices.Contains(live, standing)
	case StandingEnded:
		return slices.Contains(ended, standing)
	default:
		return standing == f.Standing
	}
}

// listPages bounds the work of one call of Grants: it reads at most so many pages of
// a store, even if few of their grants match the filter.
const listPages = 10

var errBadCursor = NewError("invalid_request",
	"after: want the value of next of the previous page; if it was that, the store has changed: "+
		"start again without after")

// Grants returns the grants that match a filter, page by page as [Store.List] does: a
// page may have fewer grants than limit, even none, and there are more as long as
// next is not empty. The grants of a subject are returned all at once, the oldest
// first. Refusals: invalid_request.
func (e *Engine) Grants(ctx context.Context, f Filter, after string,
	limit int) (found []*Grant, next string, err error) {
	if err := f.check(); err != nil {
		return nil, "", err
	}
	now := e.now()
	unwanted := func(g *Grant) bool { return !f.wants(g, now) }
	if after == "" && e.IsSubject(f.Person) {
		list, err := e.cfg.Store.ByOwner(ctx, f.Person)
		if err != nil || len(list) > 0 { // none: it may be a user name that looks like a subject
			return slices.DeleteFunc(list, unwanted), "", err
		}
	}
	for range listPages {
		page, more, err := e.cfg.Store.List(ctx, after, max(limit-len(found), 1))
		if errors.Is(err, ErrCursor) {
			return nil, "", errBadCursor
		}
		if err != nil {
			return nil, "", err
		}
		found = append(found, slices.DeleteFunc(page, unwanted)...)
		if after = more; after == "" || len(found) >= limit {
			break
		}
	}
	return found, after, nil
}

// Census counts the grants by their standing, for which it reads the whole store.
// With Redis a grant may be counted twice.
func (e *Engine) Census(ctx context.Context) (map[Standing]int, error) {
	const page = 1000
	counts := map[Standing]int{}
	for _, s := range slices.Concat(live, ended) {
		counts[s] = 0
	}
	for after := ""; ; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		grants, next, err := e.cfg.Store.List(ctx, after, page)
		if err != nil {
			return nil, err
		}
		now := e.now()
		for _, g := range grants {
			counts[g.Standing(now)]++
		}
		if after = next; after == "" {
			return counts, nil
		}
	}
}

// IsSubject reports whether a text looks like a subject of one of the upstreams: the
// upstream's id, a bar, and the upstream's own identifier of the person.
func (e *Engine) IsSubject(text string) bool {
	upstream, _, ok := strings.Cut(text, "|")
	_, known := e.cfg.Allow[upstream]
	return ok && known
}

// Grant returns a grant by its id, or ErrNotFound.
func (e *Engine) Grant(ctx context.Context, id ID) (*Grant, error) { return e.cfg.Store.Get(ctx, id) }

// End ends a grant for the operator. A pending grant is denied, so that its device
// gets access_denied. A grant that has ended is not changed. End returns the grant as
// it is afterwards, or ErrNotFound.
func (e *Engine) End(ctx context.Context, id ID) (*Grant, error) {
	wasPending := false
	g, err := e.finish(ctx, id, netip.Addr{}, func(g *Grant, now time.Time) error {
		wasPending = g.Open(now)
		return g.Withdraw(now, ReasonOperator)
	})
	if err == nil && wasPending {
		e.cfg.PollState.pending.Release(id)
	}
	return g, err
}
