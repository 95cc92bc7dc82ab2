package deviceauth

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// What the page of a person is told.
var (
	errNoSuchCode = Refuse("unknown_code", "no device waits for this code")
	errBarred     = Refuse("not_permitted", "this account may not connect devices here")
)

// An InspectRequest is a person asking what waits for a code.
type InspectRequest struct {
	Person *Person    // who is signed in: every guess has a name
	From   netip.Addr // where the person's browser is
	Code   string     // as it was typed
}

// Inspect finds the grant that waits for a code, for a person who is signed in
// and may approve. A wrong, an expired and a used code are refused in the same
// words, unknown_code, so that the answer tells a guesser nothing; who typed
// too many of them is refused with a *[Throttled]. A person outside the allow
// rules is refused with not_permitted, whatever the code.
func (e *Engine) Inspect(ctx context.Context, r InspectRequest) (*Grant, error) {
	if !e.Permits(r.Person) {
		e.tell(EventBarred, nil, r.Person)
		return nil, errBarred
	}
	now, limits := e.now(), limits(r.Person, r.From)
	if wait := e.cfg.Live.guess(ctx, limits, now); wait > 0 {
		return nil, &Throttled{Refusal{"too_many_guesses", "too many wrong codes"}, wait}
	}
	g, err := e.waiting(ctx, r.Code, now)
	e.cfg.Live.guessed(ctx, limits, errors.Is(err, errNoSuchCode))
	return g, err
}

func (e *Engine) waiting(ctx context.Context, typed string, now time.Time) (*Grant, error) {
	code, ok := ParseUserCode(typed)
	if !ok {
		return nil, errNoSuchCode
	}
	g, err := e.cfg.Store.ByUserCode(ctx, code)
	if errors.Is(err, ErrNotFound) || err == nil && !g.Open(now) {
		return nil, errNoSuchCode
	}
	return g, err
}

// An AnswerRequest is a person's yes or no to the request that a page showed.
type AnswerRequest struct {
	Grant     ID
	Allow     bool
	Person    *Person
	From      netip.Addr // where the person's browser is
	Confirmed bool       // the person confirmed that the other network is no surprise
}

// Answer decides a grant and wakes its device. Refusals: not_permitted,
// decided, and under a network policy other_network or unconfirmed; none of
// them changes the grant.
func (e *Engine) Answer(ctx context.Context, r AnswerRequest) (*Grant, error) {
	if !e.Permits(r.Person) {
		e.tell(EventBarred, nil, r.Person)
		return nil, errBarred
	}
	now := e.now()
	g, err := e.apply(ctx, r.Grant, func(g *Grant) error {
		if !r.Allow {
			return g.Deny(now)
		}
		if err := e.cfg.Network.near(g, r.From, r.Confirmed); err != nil {
			return err
		}
		return g.Approve(now, r.Person)
	})
	if errors.Is(err, ErrNotFound) {
		return nil, errDecided
	}
	if err != nil {
		return nil, err
	}
	e.cfg.Live.openings.free(e.cfg.Pending.quotas(g.From, g.ClientID))
	e.cfg.Live.wake(g.ID)
	e.tell(map[bool]string{true: EventApproved, false: EventDenied}[r.Allow], g, r.Person)
	return g, nil
}
