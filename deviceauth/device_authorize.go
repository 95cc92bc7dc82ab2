package deviceauth

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/limit"
	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// An AuthorizeRequest is a device authorization request (RFC 8628 §3.1).
type AuthorizeRequest struct {
	Client   Credentials
	Scope    string
	Audience []string // values of audience and of resource (RFC 8707)
	// Challenge binds the device code to the client that has the code_verifier (RFC
	// 7636 §4.2, S256). Empty: the code alone is enough to redeem it.
	Challenge       string
	ChallengeMethod string
	From            netip.Addr
	// Place is the location of From in words, such as a city, for the consent page;
	// empty: unknown. It is converted by [text.Plain], and truncated to 100
	// characters.
	Place string
	// Label is the name that the device gives itself, such as a host name. It is
	// normalized by [text.CleanName], and shown as a claim of the device, never as a
	// fact.
	Label string
}

const maxPlace = 100 // characters

// place returns the place in the form in which it is stored and shown.
func (r AuthorizeRequest) place() string {
	text := []rune(text.Plain(r.Place))
	return strings.TrimSpace(string(text[:min(len(text), maxPlace)]))
}

// An Authorization is the device authorization response (RFC 8628 §3.2).
type Authorization struct {
	DeviceCode Secret
	UserCode   string // formatted by the mask
	Linkable   bool   // the user code may be part of a URL (verification_uri_complete)
	ExpiresIn  time.Duration
	Interval   time.Duration
}

// maxDraws is how many user codes are tried. With 34 bits and a million pending codes
// one draw in 25,000 hits a code that is taken; ten in a row never do.
const maxDraws = 10

// Authorize starts a device grant (RFC 8628 §3.1). Refusals: invalid_client,
// unauthorized_client, access_denied, temporarily_unavailable during a pause,
// invalid_scope, invalid_target, invalid_request because of the challenge, and
// slow_down (a *[RateLimitError]) if too many grants are pending.
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
	if !client.allowsAddress(r.From) {
		return nil, NewError("access_denied", "this client may not ask from this address")
	}
	if e.paused(ctx) {
		return nil, errPaused
	}
	now := e.now()
	lifetime := cmp.Or(client.Code, e.cfg.Lifetime.DeviceCode)
	g := newGrant(now, lifetime, r)
	g.ClientID = client.ID // a substring of the request's body would keep that in memory
	if g.Scope, err = client.scope(r.Scope); err != nil {
		return nil, err
	}
	if g.Audience, err = e.audience(r.Audience); err != nil {
		return nil, err
	}
	if client.BrowserOnly {
		return nil, errBrowserOnly
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

// scope checks the requested scope; the default is the client's scope.
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

// audience returns the audiences of the requested resources (RFC 8707 §2), or the
// default one.
func (e *Engine) audience(asked []string) ([]string, error) {
	if len(asked) == 0 {
		return e.cfg.Audience[:1:1], nil
	}
	return narrow(asked, e.cfg.Audience)
}

// begin creates a new device grant, within the limits of pending grants.
func (e *Engine) begin(ctx context.Context, g *Grant) (code splitToken, err error) {
	err = e.keepPending(ctx, g, func() (err error) {
		code, err = e.create(ctx, g)
		return err
	})
	return code, err
}

// keepPending calls create for a new grant, within the limits of pending grants.
func (e *Engine) keepPending(ctx context.Context, g *Grant, create func() error) error {
	pending := e.cfg.PollState.pending
	crowdedOut, wait := pending.Acquire(limit.PendingLimits(e.cfg.Pending),
		limit.Request{ID: g.ID, Client: g.ClientID, From: g.From, Expires: g.Expires}, g.Created)
	if wait > 0 {
		return tooManyWait(wait)
	}
	if err := create(); err != nil {
		pending.Release(g.ID)
		return err
	}
	if crowdedOut != (ID{}) {
		e.crowdOut(ctx, crowdedOut)
	}
	if !pending.Holds(g.ID) { // crowded out itself, maybe even before it was stored
		e.crowdOut(ctx, g.ID)
		return tooManyWait(time.Second)
	}
	return nil
}

var errBrowserOnly = NewError("unauthorized_client", "this client did not register for the device grant")

var errTooManyPending = NewError("slow_down", "too many requests wait for an answer; try again later")

func tooManyWait(wait time.Duration) error {
	return &RateLimitError{Reason: errTooManyPending, RetryAfter: wait}
}

// crowdOut ends a pending grant that must make room for another. It must not be
// cancelled with the request of the other device. If the store fails nothing is lost:
// the grant expires anyway.
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

// create stores the grant with new codes. It draws user codes until one is free, at most
// maxDraws.
func (e *Engine) create(ctx context.Context, g *Grant) (splitToken, error) {
	var err error
	for range maxDraws {
		code := newSplitToken(g.ID)
		g.Device, g.UserCode = code.digest(), e.cfg.UserCode.draw()
		if err = e.cfg.Store.Create(ctx, g); !errors.Is(err, ErrExists) {
			return code, err
		}
	}
	return splitToken{}, err
}
