package deviceauth

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// An AuthorizeRequest is a device asking for a code (RFC 8628 §3.1).
type AuthorizeRequest struct {
	Client   Credentials
	Scope    string
	Audience []string // values of audience and of resource (RFC 8707)
	// Challenge binds the device code to the client with the code_verifier that it
	// is the S256 of (RFC 7636 §4.2); empty: the code alone is enough to redeem it.
	Challenge       string
	ChallengeMethod string
	From            netip.Addr
	// Place is where that is in words, such as a city, for the person who is
	// asked; empty: unknown. It is made [text.Plain], and cut after 100
	// characters.
	Place string
	// Label is what the device calls itself, such as a host name. It is shown as
	// that and never as fact, spelled as [text.CleanName] does.
	Label string
}

const maxPlace = 100 // characters

// place returns a place as it is kept and shown.
func (r AuthorizeRequest) place() string {
	text := []rune(text.Plain(r.Place))
	return strings.TrimSpace(string(text[:min(len(text), maxPlace)]))
}

// An Authorization is what the device is given (RFC 8628 §3.2).
type Authorization struct {
	DeviceCode Secret
	UserCode   string // as the mask spells it
	Linkable   bool   // an address may bring the user code along (verification_uri_complete)
	ExpiresIn  time.Duration
	Interval   time.Duration
}

// draws is how many user codes are tried. With 34 bits and a million open
// codes one draw in 25,000 is taken; ten in a row never are.
const draws = 10

// Authorize begins a grant (RFC 8628 §3.1). Refusals: invalid_client,
// unauthorized_client, access_denied, temporarily_unavailable while connecting
// devices is paused, invalid_scope, invalid_target, invalid_request of a challenge, and slow_down (a *[RateLimitError])
// where too many wait already.
func (e *Engine) Authorize(ctx context.Context, r AuthorizeRequest) (*Authorization, error) {
	r.From = e.Address(r.From)
	a, err := e.authorize(ctx, r)
	if refusal := AsError(err); refusal != nil {
		event := Event{Name: EventTurnedAway, From: r.From, Reason: refusal.Code}
		if c := e.client(r.Client.ClientID); c != nil {
			event.ClientID = c.ID
		} else {
			event.Tried = quoted(r.Client.ClientID, maxEventText)
		}
		e.emitEvent(event)
	}
	return a, err
}

func (e *Engine) authorize(ctx context.Context, r AuthorizeRequest) (*Authorization, error) {
	client, err := e.authenticate(ctx, r.Client)
	if err != nil {
		return nil, err
	}
	if client.ResourceServer {
		return nil, NewError("unauthorized_client", "this client is a guard and no device")
	}
	if !client.reaches(r.From) {
		return nil, NewError("access_denied", "this client may not ask from this address")
	}
	if e.paused(ctx) {
		return nil, errPaused
	}
	now := e.now()
	lifetime := cmp.Or(client.Code, e.cfg.Lifetime.DeviceCode)
	g := newGrant(now, lifetime, r)
	g.ClientID = client.ID // not a part of the request's body, which a pending grant would keep in memory
	if g.Scope, err = client.scope(r.Scope); err != nil {
		return nil, err
	}
	if g.Audience, err = e.audience(r.Audience); err != nil {
		return nil, err
	}
	if client.BrowserOnly {
		return nil, NewError("unauthorized_client", "this client did not register for the device grant")
	}
	if g.Challenge, err = parseChallenge(r.Challenge, r.ChallengeMethod); err != nil {
		return nil, err
	}
	code, err := e.begin(ctx, g)
	if err != nil {
		return nil, err
	}
	e.emit(EventAuthorized, g, nil)
	return &Authorization{DeviceCode: code.deviceCode(), UserCode: e.cfg.UserCode.Format(g.UserCode),
		Linkable: !client.ManualEntry, ExpiresIn: lifetime,
		Interval: e.cfg.Interval}, nil
}

// scope checks what a client asks for; one that asks for nothing gets all it may have.
func (c *Client) scope(asked string) (Scope, error) {
	scope, err := ParseScope(asked)
	if err != nil {
		return "", err
	}
	if scope == "" {
		return c.Scope, nil
	}
	if !scope.Within(c.Scope) {
		return "", NewError("invalid_scope", "this client may ask only for: "+string(c.Scope))
	}
	return scope, nil
}

// audience finds the APIs that a token is asked for (RFC 8707 §2); nil is the default.
func (e *Engine) audience(asked []string) ([]string, error) {
	if len(asked) == 0 {
		return e.cfg.Audience[:1:1], nil
	}
	return narrow(asked, e.cfg.Audience)
}

// begin keeps a new grant of a device, within the limits of how many may wait.
func (e *Engine) begin(ctx context.Context, g *Grant) (code splitToken, err error) {
	err = e.keepPending(ctx, g, func() (err error) {
		code, err = e.create(ctx, g)
		return err
	})
	return code, err
}

// keepPending has a new grant created, within the limits of how many may wait.
func (e *Engine) keepPending(ctx context.Context, g *Grant, create func() error) error {
	pending := &e.cfg.PollState.pending
	crowdedOut, wait := pending.acquire(e.cfg.Pending, g, g.Created)
	if wait > 0 {
		return tooManyWait(wait)
	}
	if err := create(); err != nil {
		pending.release(g.ID)
		return err
	}
	if crowdedOut != (ID{}) {
		e.crowdOut(ctx, crowdedOut)
	}
	if !pending.holds(g.ID) { // it gave way itself, maybe before the store had it
		e.crowdOut(ctx, g.ID)
		return tooManyWait(time.Second)
	}
	return nil
}

var errTooManyPending = NewError("slow_down", "too many requests wait for an answer; try again later")

func tooManyWait(wait time.Duration) error {
	return &RateLimitError{Reason: errTooManyPending, RetryAfter: wait}
}

// crowdOut ends a grant that gives way to another one. That must not depend on
// the other one's device, which may have gone away. Where the store cannot keep
// it nothing is lost: the grant expires as it would have.
func (e *Engine) crowdOut(ctx context.Context, id ID) {
	ctx, cancel := afterwards(ctx)
	defer cancel()
	now := e.now()
	g, err := e.apply(ctx, id, func(g *Grant) error { return g.CrowdOut(now) })
	if err != nil {
		return // or it has just been answered
	}
	e.cfg.PollState.wake(id)
	e.emit(EventTurnedAway, g, nil)
}

// create draws the grant's codes until they are free.
func (e *Engine) create(ctx context.Context, g *Grant) (splitToken, error) {
	var err error
	for range draws {
		code := newSplitToken(g.ID)
		g.Device, g.UserCode = code.digest(), e.cfg.UserCode.draw()
		if err = e.cfg.Store.Create(ctx, g); !errors.Is(err, ErrExists) {
			return code, err
		}
	}
	return splitToken{}, err
}
