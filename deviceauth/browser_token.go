package deviceauth

import (
	"context"
	"errors"
	"net/netip"
)

// An ExchangeRequest is a request for the tokens of an authorization code (RFC 6749
// §4.1.3, RFC 7636 §4.5).
type ExchangeRequest struct {
	Client      Credentials
	Code        string
	RedirectURI string // as in the authorization request
	Verifier    string // code_verifier
	Resource    []string
	From        netip.Addr // the address of the client
	Nulls       bool       // see [RedeemRequest]
}

// Errors of the token endpoint about an authorization code (RFC 6749 §5.2).
var (
	errUnknownAuthCode = NewError("invalid_grant",
		"this code is unknown, or another client's, or was sent to another redirect_uri")
	errUsedAuthCode = NewError("invalid_grant",
		"this code is no longer good: it has been used, or its login has been ended; start again")
	errExpiredAuthCode   = NewError("invalid_grant", "this code has expired; start again")
	errDeviceOnly        = NewError("unauthorized_client", "this client has no redirect URI, and no such codes")
	errElsewhereAuthCode = NewError("invalid_grant",
		"this code came to another network than the browser's; start again")
	errBarredAuthCode = NewError("invalid_grant",
		"this person may no longer connect this program, or not for all that was asked for; start again")
)

// Exchange returns the tokens of an authorization code, once. A second use of the
// code ends the grant, with the tokens of the first (RFC 6749 §4.1.2). Refusals:
// invalid_client, unauthorized_client, invalid_grant, invalid_target.
func (e *Engine) Exchange(ctx context.Context, r ExchangeRequest) (*Tokens, error) {
	client, err := e.authenticate(ctx, r.Client)
	if err != nil {
		return nil, err
	}
	if len(client.Redirects) == 0 {
		return nil, errDeviceOnly
	}
	code, ok := parseAuthorizationCode(r.Code)
	if !ok {
		return nil, errUnknownAuthCode
	}
	r.From = e.Address(r.From)
	p := &tokenRequest{e: e, client: client, code: code, method: r.Client.Method, exchange: &r, asked: RedeemRequest{
		Client: r.Client, Verifier: r.Verifier, Resource: r.Resource, Nulls: r.Nulls,
	}}
	tokens, err := p.answer(ctx)
	switch {
	case errors.Is(err, errUnknownCode), errors.Is(err, errPending): // pending: the client has gone away
		return nil, errUnknownAuthCode
	case errors.Is(err, errDenied):
		return nil, errBarredAuthCode
	}
	return tokens, err
}

// isElsewhere reports whether the code is presented from another network than that of
// the browser in which it was approved, and the client's network policy is require. A
// code that a person was tricked into handing over is presented from another network.
func (e *Engine) isElsewhere(g *Grant, r *ExchangeRequest) bool {
	return e.Network(g.ClientID) == NetworkRequire && !e.sameNetwork(g.From, r.From)
}
