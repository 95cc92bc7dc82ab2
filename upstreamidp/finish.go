package upstreamidp

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// Finish implements [deviceauth.Upstream] (OpenID Connect Core §3.1.2.5–3.1.3.7). The
// callback is compared with our own state before any request to the provider; the
// code is exchanged before the ID token is read; and the person is checked last. Only
// a *deviceauth.Error is about this sign-in; any other error is a fault between
// gateway and provider.
func (p *Provider) Finish(ctx context.Context, a deviceauth.AuthRequest,
	answer url.Values) (*deviceauth.Person, error) {
	if err := checkState(a, answer); err != nil {
		return nil, err
	}
	d, err := p.discovery.get(ctx)
	if err != nil {
		return nil, err
	}
	if err := p.checkAnswer(d, a, answer); err != nil {
		return nil, err
	}
	ctx = oidc.ClientContext(ctx, p.cfg.HTTPClient)
	token, err := p.exchange(ctx, d, a, answer.Get("code"))
	if err != nil {
		return nil, err
	}
	id, err := p.verify(ctx, d, a, token)
	if err != nil {
		return nil, err
	}
	found, err := p.person(ctx, d, id, token)
	if err != nil {
		return nil, err
	}
	p.logLacking(found)
	found.SignedIn = a.Began
	if err := checkFresh(found.Person, a); err != nil {
		return nil, err
	}
	kept, err := p.keep(ctx, found.Person, token, found.filled)
	if err == nil && !kept {
		return nil, p.withConsent(d, a, found.Person)
	}
	return found.Person, err
}

// checkFresh records whether the person authenticated during this attempt, and
// returns an error if the attempt requires that and they did not. Only auth_time
// shows it: the person at the browser can remove prompt=login from the request.
func checkFresh(person *deviceauth.Person, a deviceauth.AuthRequest) error {
	proven := !person.AuthTime.Before(a.Began.Add(-skew)) && !person.AuthTime.After(time.Now().Add(skew))
	switch {
	case proven:
		person.Fresh = a.Code
	case a.FreshSignIn && person.AuthTime.IsZero(): // although OpenID Connect Core §2 requires it with max_age
		return errNoTime
	case a.FreshSignIn:
		return errUnproven
	}
	return nil
}

// exchange exchanges the code for tokens. Only invalid_grant is about this sign-in
// (RFC 6749 §5.2); any other error is between the provider and the gateway.
func (p *Provider) exchange(ctx context.Context, d *discovered, a deviceauth.AuthRequest,
	code string) (*oauth2.Token, error) {
	token, err := p.client(d, a.RedirectURI).Exchange(ctx, code, oauth2.VerifierOption(a.Verifier))
	var refusal *oauth2.RetrieveError
	if errors.As(err, &refusal) && refusal.ErrorCode == "invalid_grant" {
		return nil, withDetails(errStale, "%v", err)
	}
	if err != nil {
		return nil, p.tokenError("exchanging the code", err)
	}
	return token, nil
}

// tokenError returns the error for a failed token request. It also marks the metadata
// as doubtful, since the endpoint may have moved, and recognizes wrong client
// credentials (RFC 6749 §5.2).
func (p *Provider) tokenError(doing string, err error) error {
	p.discovery.doubt()
	var refusal *oauth2.RetrieveError
	if errors.As(err, &refusal) &&
		(refusal.ErrorCode == "invalid_client" || refusal.ErrorCode == "unauthorized_client") {
		err = &deviceauth.ConfigError{Reason: "the provider does not take the gateway's client_id or client_secret: " +
			err.Error()}
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// verify verifies the ID token (OpenID Connect Core §3.1.3.7). go-oidc checks
// signature, issuer, audience and expiry, and tokenProblem the rest.
func (p *Provider) verify(ctx context.Context, d *discovered, a deviceauth.AuthRequest,
	token *oauth2.Token) (*oidc.IDToken, error) {
	raw, _ := token.Extra("id_token").(string)
	if raw == "" {
		return nil, invalidToken("there is no ID token")
	}
	id, err := d.verifier.Verify(ctx, raw)
	if err != nil {
		p.discovery.doubt() // the keys may have moved
	}
	if unfetched(err) {
		return nil, fmt.Errorf("verifying the ID token: %w", err)
	}
	if err != nil {
		return nil, invalidToken(err.Error())
	}
	if wrong := p.tokenProblem(id, a, token); wrong != "" {
		return nil, invalidToken(wrong)
	}
	return id, nil
}

// maxSubject is the maximum length of sub (OpenID Connect Core §2).
const maxSubject = 255

// tokenProblem returns what is wrong with an ID token in respects that go-oidc leaves
// to its caller, or "".
func (p *Provider) tokenProblem(id *oidc.IDToken, a deviceauth.AuthRequest, token *oauth2.Token) string {
	var party struct {
		Authorized string `json:"azp"`
	}
	err := id.Claims(&party)
	switch {
	case err != nil:
		return err.Error()
	case id.IssuedAt.After(time.Now().Add(skew)):
		return "it was issued in the future"
	case !same(id.Nonce, a.Nonce):
		return "the nonce is another one"
	case (len(id.Audience) > 1 || party.Authorized != "") && party.Authorized != p.cfg.ClientID:
		// OpenID Connect Core §3.1.3.7: several audiences need an azp, and any azp must be
		// this client. The text is also that of a missing one.
		return "azp is another client"
	case id.Subject == "" || len(id.Subject) > maxSubject:
		return "sub is empty or too long"
	case id.AccessTokenHash != "" && id.VerifyAccessToken(token.AccessToken) != nil:
		return "at_hash is another token's"
	}
	return ""
}

// invalidToken returns the same error for the person in all cases; the reason is for
// the log.
func invalidToken(reason string) error { return fmt.Errorf("%w (%s)", errInvalid, reason) }
