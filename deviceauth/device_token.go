package deviceauth

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// A RedeemRequest is a device access token request, that is, a poll (RFC 8628 §3.4).
type RedeemRequest struct {
	Client     Credentials
	DeviceCode string
	Verifier   string   // code_verifier (RFC 7636 §4.5), if the code was requested with a challenge
	Resource   []string // the audience of this access token (RFC 8707 §2.2); none: all that was granted
	// the ID token must have the scope and all claims of its scopes, null if unknown,
	// and plain base64 must decode it
	Nulls bool
}

// Redeem processes a poll. A poll of a pending grant is held until a person decides,
// at most for the configured wait. Refusals: invalid_client, unauthorized_client,
// invalid_grant, invalid_target, authorization_pending, slow_down (a
// *[SlowDownError]), access_denied, expired_token.
func (e *Engine) Redeem(ctx context.Context, r RedeemRequest) (*Tokens, error) {
	tokens, err := e.redeem(ctx, r)
	if e.cfg.Polls != nil {
		e.cfg.Polls(answerOf(err))
	}
	return tokens, err
}

// PollAnswers lists the answers to polls that are passed to [Config.Polls].
func PollAnswers() []string {
	return []string{
		"tokens", "fault", errPending.Code, "slow_down", errDenied.Code, "expired_token",
		"invalid_grant", "invalid_client", "unauthorized_client", "invalid_target",
	}
}

func answerOf(err error) string {
	switch refusal := AsError(err); {
	case err == nil:
		return "tokens"
	case refusal == nil:
		return "fault"
	default:
		return refusal.Code
	}
}

func (e *Engine) redeem(ctx context.Context, r RedeemRequest) (*Tokens, error) {
	client, err := e.authenticate(ctx, r.Client)
	if err != nil {
		return nil, e.withdrawn(ctx, r, err)
	}
	if client.BrowserOnly {
		return nil, errBrowserOnly
	}
	code, ok := parseDeviceCode(r.DeviceCode)
	if !ok {
		return nil, errUnknownCode
	}
	p := &tokenRequest{e: e, client: client, code: code, method: r.Client.Method, asked: r}
	tokens, err := p.answer(ctx)
	if errors.Is(err, errPending) {
		return p.pending(ctx)
	}
	return tokens, err
}

// withdrawn returns access_denied for a device code whose client was removed:
// invalid_client would make the developer of the device look for a mistake there. The
// grant is not changed: if the client is configured again the device can go on. A fault
// during the authentication of the client is returned as it is.
func (e *Engine) withdrawn(ctx context.Context, r RedeemRequest, refusal error) error {
	code, ok := parseDeviceCode(r.DeviceCode)
	if !ok || AsError(refusal) == nil {
		return refusal
	}
	// The grant is read even if the client is unknown, so that timing reveals
	// nothing.
	g, err := e.cfg.Store.Get(ctx, code.id)
	if err != nil || g.ClientID != r.Client.ClientID || !g.Device.equal(code.digest()) {
		return refusal
	}
	if client, err := e.loadClient(ctx, g.ClientID); client != nil || err != nil {
		return refusal
	}
	return errDenied
}

// A SlowDownError is the error slow_down with the interval that applies from now on,
// which RFC 8628 lets the client compute by itself.
type SlowDownError struct{ Interval time.Duration }

var errTooEarly = NewError("slow_down", "this device asks too often; keep to the interval, which has grown")

func (*SlowDownError) Error() string { return errTooEarly.Error() }
func (*SlowDownError) Unwrap() error { return errTooEarly }

// tokenRequest is the processing of one request for the tokens of a device code or
// an authorization code.
type tokenRequest struct {
	e      *Engine
	client *Client
	code   splitToken
	method AuthMethod
	asked  RedeemRequest
	grant  *Grant // as it was last read

	exchange *ExchangeRequest // of an authorization code; nil: of a device code
}

// answer tries to redeem the code. It first tries on a copy of the grant: if that is
// not changed, as in nearly all polls, nothing is written and no token is created.
func (p *tokenRequest) answer(ctx context.Context) (*Tokens, error) {
	read := p.e.cfg.Store.Get
	if p.exchange != nil { // an exchange is not repeated, so an older state must not refuse it
		read = p.e.latest
	}
	g, err := read(ctx, p.code.id)
	if errors.Is(err, ErrNotFound) {
		return nil, errUnknownCode
	}
	if err != nil {
		return nil, err
	}
	p.grant = g
	if g.State == Active {
		if tokens, err := p.again(ctx, g); tokens != nil || err != nil {
			return tokens, err
		}
	}
	now, before := p.e.now(), g.Revision
	dry := *g
	if err := p.step(&dry, now, nil); dry.Revision == before {
		return nil, err
	}
	// The tokens are created before the grant is changed, because a fault must not
	// cost the device its code. The claims of a token can no longer change once a
	// grant is approved.
	var tokens *Tokens
	if dry.State == Active {
		if tokens, err = p.first(g, now); err != nil {
			return nil, err
		}
	}
	return p.redeem(ctx, now, tokens)
}

// step applies the request to the grant. t are the tokens that have been created for
// it, or nil.
func (p *tokenRequest) step(g *Grant, now time.Time, t *Tokens) error {
	r := p.redemption(t)
	if p.exchange == nil {
		return g.Redeem(now, r)
	}
	r.Elsewhere = p.e.isElsewhere(g, p.exchange)
	return g.Exchange(now, r)
}

// first creates the tokens of a redemption that is about to succeed.
func (p *tokenRequest) first(g *Grant, now time.Time) (*Tokens, error) {
	terms, err := p.redemption(nil).terms(g)
	if err != nil {
		return nil, err
	}
	return p.e.first(g, terms, now, p.asked.Nulls)
}

// again returns the tokens of an earlier redemption that were not delivered because
// the store failed: its write may have succeeded. The grant is written once more
// before they are returned, because a device must only receive tokens whose grant is
// on disk.
func (p *tokenRequest) again(ctx context.Context, g *Grant) (*Tokens, error) {
	if p.redemption(nil).belongs(g) != nil {
		return nil, nil
	}
	now := p.e.now()
	tokens := p.e.cfg.PollState.undelivered.redemption(g, now)
	if tokens == nil {
		return nil, nil
	}
	after, err := p.e.apply(ctx, g.ID, func(g *Grant) error {
		return g.Redeliver(now, Redelivery{Tokens: tokens, Permitted: p.e.permitted(p.client),
			Entitled: p.e.entitlement(p.client)})
	})
	switch {
	case after == nil:
		p.e.cfg.PollState.undelivered.note(g.ID, undelivered{tokens: tokens}, now)
		return nil, err
	case errors.Is(err, errRedeemed): // it was changed since; the ordinary path decides
		return nil, nil
	case err != nil:
		p.e.emitBarred(after, after.Person, p.client, netip.Addr{})
		return nil, err
	}
	p.e.emit(EventRedeemed, after, after.Person)
	given := *tokens
	given.ExpiresIn = max(tokens.until.Sub(now), 0) // part of the lifetime has passed
	return &given, nil
}

func (p *tokenRequest) redemption(t *Tokens) Redemption {
	r := Redemption{
		ClientID: p.client.ID, Device: p.code.digest(), Verifier: p.asked.Verifier, Permitted: p.e.permitted(p.client),
		Entitled: p.e.entitlement(p.client), Resource: p.asked.Resource,
	}
	if p.exchange != nil {
		r.Redirect = p.exchange.RedirectURI
	}
	if t != nil {
		r.AccessUntil, r.Refresh = t.until, t.refresh
	}
	return r
}

// redeem repeats on the stored grant what succeeded on the copy, and returns the
// tokens if it succeeds again, as it does for exactly one of several simultaneous
// polls. If the client has disconnected it redeems nothing, because the tokens could
// not be delivered.
func (p *tokenRequest) redeem(ctx context.Context, now time.Time, tokens *Tokens) (*Tokens, error) {
	if ctx.Err() != nil {
		return nil, errPending
	}
	before := State("")
	g, err := p.e.apply(ctx, p.code.id, func(g *Grant) error {
		before = g.State
		return p.step(g, now, tokens)
	})
	switch {
	case g == nil:
		if tokens != nil {
			p.e.cfg.PollState.undelivered.note(p.code.id, undelivered{tokens: tokens}, now)
		}
		return nil, err
	case err == nil:
		p.e.emit(EventRedeemed, g, g.Person)
		p.e.cfg.PollState.forget(g.ID)
		p.e.cfg.PollState.pending.Release(g.ID) // the approval may have been given at another gateway
		return tokens, nil
	case before != g.State && g.Reason == ReasonElsewhere:
		p.e.emitByPerson(EventRevoked, g, g.Person, p.exchange.From)
	case before != g.State && g.State == Revoked:
		p.e.emit(EventReplayed, g, nil)
	case before != g.State && g.State == Denied:
		p.e.emitBarred(g, g.Person, p.client, netip.Addr{})
	}
	return nil, err
}

// pending applies the polling interval, and holds the poll if holding is enabled.
func (p *tokenRequest) pending(ctx context.Context) (*Tokens, error) {
	// With the monotonic clock: setting the wall clock must not make a poll too
	// early.
	e, now := p.e, time.Now()
	a := e.cfg.PollState.checkPoll(ctx, p.grant, p.method, now, e.cfg.Interval)
	if a.early {
		return nil, &SlowDownError{Interval: a.interval}
	}
	if e.cfg.Wait <= 0 {
		return nil, errPending
	}
	wake, ok := e.cfg.PollState.hold(p.grant, now, e.cfg.Interval)
	if !ok {
		return nil, errPending
	}
	defer e.cfg.PollState.release(p.code.id, wake)
	return p.wait(ctx, wake)
}

// wait checks the grant again before it sleeps, because a decision may have been made
// between the first check and hold.
func (p *tokenRequest) wait(ctx context.Context, wake <-chan struct{}) (*Tokens, error) {
	timer := time.NewTimer(p.e.cfg.Wait)
	defer timer.Stop()
	for {
		tokens, err := p.answer(ctx)
		if !errors.Is(err, errPending) {
			return tokens, err
		}
		select {
		case <-wake:
		case <-timer.C:
			return nil, errPending
		case <-p.e.closing:
			return nil, errPending
		case <-ctx.Done():
			return nil, errPending // the client has closed the connection
		}
	}
}
