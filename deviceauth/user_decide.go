package deviceauth

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// Errors for the page of a person.
var (
	errNoSuchCode = NewError("unknown_code", "no device waits for this code")
	errBarred     = NewError("not_permitted", "this account may not connect devices here")
	errNoCode     = NewError("impossible_code", "no code looks like this: it has another length, or other characters")
	errUntyped    = NewError("untyped", "the code of this device has to be typed")
	errNotFresh   = NewError("not_fresh", "this device asks for a new sign-in")
)

// An InspectRequest asks for the grant of a user code.
type InspectRequest struct {
	Person  *Person    // who is signed in
	Browser string     // identifies the session of the person's browser; empty: there is none
	From    netip.Addr // the address of the person's browser
	Code    string     // as it was typed
	Linked  bool       // it was not typed: a link contained it
}

// Inspect returns the pending grant of a user code, for a person who is signed in and
// may approve it. A wrong, an expired and a used code are refused with the same
// error, unknown_code, so that the response tells a guesser nothing; a person who
// entered too many of them is refused with a *[RateLimitError]. Text that cannot be a
// code is refused with impossible_code, and not counted. Further refusals:
// signed_out; paused; not_permitted for a person outside the allow rules, or
// groups_withheld if the upstream left out the claim that the rules need; untyped and
// not_fresh because of settings of the client.
func (e *Engine) Inspect(ctx context.Context, r InspectRequest) (*Grant, error) {
	r.From = e.Address(r.From)
	if err := e.checkPermitted(ctx, r.Person, ID{}, r.From); err != nil {
		return nil, err
	}
	if err := e.Connects(ctx); err != nil {
		return nil, err
	}
	code, now := e.possible(r.Code), e.now()
	if code == "" {
		return nil, errNoCode
	}
	guess := r.guess(code)
	if wait := e.cfg.PollState.beginGuess(ctx, guess, now); wait > 0 {
		e.emitEvent(Event{Name: EventGuessing, Person: r.Person, From: r.From})
		return nil, &RateLimitError{Reason: errTooManyGuesses, RetryAfter: wait}
	}
	client, g, err := e.waiting(ctx, code, now)
	e.cfg.PollState.endGuess(ctx, guess, errors.Is(err, errNoSuchCode))
	if err != nil {
		return nil, err
	}
	if r.Linked && client.ManualEntry {
		return nil, errUntyped
	}
	return g, e.reportBarred(g, r.Person, r.From, e.acceptable(client, g, r.Person))
}

// checkPermitted checks that a person is still signed in at their upstream, and may
// approve anything at all. id is the grant in question, if known.
func (e *Engine) checkPermitted(ctx context.Context, p *Person, id ID, from netip.Addr) error {
	if err := e.stillSignedIn(ctx, p); err != nil {
		return err
	}
	if !e.Permits(p) {
		e.emitNotPermitted(ctx, id, p, from)
		return e.barError(p, nil)
	}
	return nil
}

// emitNotPermitted emits an event for a person who is not permitted regardless of the
// client, with the grant in question, if there is one.
func (e *Engine) emitNotPermitted(ctx context.Context, id ID, p *Person, from netip.Addr) {
	var g *Grant
	if id != (ID{}) {
		if found, err := e.cfg.Store.Get(ctx, id); err == nil {
			g = found
		}
	}
	e.emitBarred(g, p, nil, from)
}

// waiting returns the pending grant of a code, and its client.
func (e *Engine) waiting(ctx context.Context, code UserCode, now time.Time) (*Client, *Grant, error) {
	g, err := e.cfg.Store.ByUserCode(ctx, code)
	if errors.Is(err, ErrNotFound) || err == nil && !g.Open(now) {
		return nil, nil, errNoSuchCode
	}
	if err != nil {
		return nil, nil, err
	}
	client, err := e.loadClient(ctx, g.ClientID)
	if client == nil && (err == nil || AsError(err) != nil) {
		return nil, nil, errNoSuchCode
	}
	return client, g, err
}

// acceptable checks what a client requires of the person who approves it.
func (e *Engine) acceptable(c *Client, g *Grant, p *Person) error {
	if !e.permitted(c)(p) {
		return e.barError(p, c)
	}
	if c.FreshSignIn && p.Fresh != g.UserCode {
		return errNotFresh
	}
	return nil
}

// reportBarred emits an event if the error is that a client's rules exclude a person, and
// returns the error. It must not be called within a store's Update, which may run
// repeatedly.
func (e *Engine) reportBarred(g *Grant, p *Person, from netip.Addr, verdict error) error {
	if errors.Is(verdict, errBarred) {
		e.emitBarred(g, p, e.client(g.ClientID), from)
	}
	return verdict
}

// An AnswerRequest is a person's answer to a request that a page showed.
type AnswerRequest struct {
	Grant     ID
	Allow     bool
	Person    *Person
	From      netip.Addr // the address of the person's browser
	Confirmed bool       // the person confirmed the approval from another network
	Reported  bool       // with a denial: the person reports that someone else sent the code
}

// Answer records the decision about a grant and wakes its device. Refusals:
// signed_out, paused for an approval, not_permitted, not_fresh, decided, and because
// of the network policy other_network or unconfirmed. A refusal does not change the
// grant.
func (e *Engine) Answer(ctx context.Context, r AnswerRequest) (*Grant, error) {
	if err := e.checkPermitted(ctx, r.Person, r.Grant, r.From); err != nil {
		return nil, err
	}
	if r.Allow {
		if err := e.Connects(ctx); err != nil {
			return nil, err
		}
	}
	if r.Allow && e.cfg.Revalidate != nil { // a session may be hours old
		person, err := e.revalidated(ctx, r.Person)
		if err != nil {
			return nil, err
		}
		if person == nil {
			e.emitEvent(Event{
				Name: EventBarred, Person: r.Person, Browser: e.Address(r.From), Upstream: r.Person.Upstream,
				Rule: "upstream " + r.Person.Upstream + " no longer vouches for the person",
			})
			return nil, errBarred
		}
		r.Person = person
	}
	r.Person = e.named(r.Person)
	var client *Client
	if r.Allow { // a denial must be possible whatever the client's document is
		var err error
		if client, err = e.clientOf(ctx, r.Grant); err != nil {
			return nil, err
		}
	}
	now := e.now()
	g, err := e.apply(ctx, r.Grant, func(g *Grant) error { return e.answer(client, g, now, r) })
	if errors.Is(err, ErrNotFound) {
		return nil, errDecided
	}
	if err != nil {
		return nil, e.reportBarred(g, r.Person, r.From, err)
	}
	e.cfg.PollState.pending.Release(g.ID)
	e.emitByPerson(map[bool]string{true: EventApproved, false: EventDenied}[r.Allow], g, r.Person, r.From)
	if err := e.revokeSuperseded(ctx, g, r); err != nil {
		return nil, err
	}
	if r.Allow {
		e.markUsed(ctx, client)
	}
	e.cfg.PollState.wake(g.ID)
	return g, nil
}

// clientOf looks up the client of a grant. It must be called before a store's Update,
// within which no other operation may run. It returns nil if there is no such client
// or grant.
func (e *Engine) clientOf(ctx context.Context, id ID) (*Client, error) {
	g, err := e.cfg.Store.Get(ctx, id)
	if errors.Is(err, ErrNotFound) { // the store's Get may return an older state
		g, err = e.latest(ctx, id)
	}
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	client, err := e.loadClient(ctx, g.ClientID)
	if AsError(err) != nil {
		return nil, nil
	}
	return client, err
}

func (e *Engine) answer(c *Client, g *Grant, now time.Time, r AnswerRequest) error {
	switch {
	case !r.Allow && r.Reported:
		return g.Deny(now, ReasonReported)
	case !r.Allow:
		return g.Deny(now, "")
	case !g.Open(now):
		return errDecided
	}
	if err := e.acceptable(c, g, r.Person); err != nil {
		return err
	}
	if err := e.applyNetworkPolicy(g, r.From, r.Confirmed); err != nil {
		return err
	}
	return g.Approve(now, r.Person)
}

// revokeSuperseded revokes an approval that was given while the person signed out: a
// sign-out first records itself and then looks for grants, so either it finds the
// grant or revokeSuperseded finds the record.
func (e *Engine) revokeSuperseded(ctx context.Context, g *Grant, r AnswerRequest) error {
	if !r.Allow {
		return nil
	}
	ctx, cancel := afterwards(ctx)
	defer cancel()
	gone := e.stillSignedIn(ctx, r.Person)
	if AsError(gone) == nil {
		return nil // a fault must not undo a decision
	}
	if err := e.end(ctx, g.ID, ReasonSignedOut, anyOwner); err != nil {
		return err
	}
	return gone
}
