package upstreamidp

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

func refuse(text string) error { return deviceauth.Refuse("sign_in", text) }

// What can be wrong with a callback. The texts are for the person.
var (
	errState   = refuse("This answer does not belong to the sign-in that you began.")
	errIssuer  = refuse("This answer comes from another identity provider than the one you went to.")
	errNoCode  = refuse("The identity provider sent no answer.")
	errStale   = refuse("The identity provider no longer knows this sign-in. Please sign in again.")
	errInvalid = refuse("The identity provider sent an answer that cannot be trusted.")
)

// Finish implements [deviceauth.Upstream] (OpenID Connect Core §3.1.2.5–3.1.3.7).
func (p *Provider) Finish(ctx context.Context, a deviceauth.Attempt, answer url.Values) (*deviceauth.Person, error) {
	d, err := p.discover(ctx)
	if err != nil {
		return nil, err
	}
	if err := p.checkAnswer(d, a, answer); err != nil {
		return nil, err
	}
	ctx = oidc.ClientContext(ctx, p.cfg.HTTPClient)
	token, err := p.client(d, a.RedirectURI).Exchange(ctx, answer.Get("code"), oauth2.VerifierOption(a.Verifier))
	var said *oauth2.RetrieveError
	if errors.As(err, &said) && said.ErrorCode == "invalid_grant" {
		return nil, errStale
	}
	if err != nil {
		return nil, fmt.Errorf("exchanging the code: %w", err)
	}
	id, err := p.verify(ctx, d, a, token)
	if err != nil {
		return nil, err
	}
	return p.person(ctx, d, id, token)
}

// checkAnswer looks at what came with the browser, before anybody is asked.
func (p *Provider) checkAnswer(d *discovered, a deviceauth.Attempt, answer url.Values) error {
	switch {
	case !same(answer.Get("state"), a.State):
		return errState
	case (answer.Has("iss") || d.tellsIss) && answer.Get("iss") != p.cfg.Issuer:
		return errIssuer // RFC 9207 §2.4: mixed up with another provider
	case answer.Get("error") == "access_denied":
		return refuse("The sign-in was cancelled.")
	case answer.Has("error"):
		return refuse("The identity provider answered: " + readable(answer.Get("error")+" "+answer.Get("error_description")))
	case answer.Get("code") == "":
		return errNoCode
	}
	return nil
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// readable makes an upstream's text fit to be shown: printable ASCII, not long.
func readable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return -1
		}
		return r
	}, s)
	return strings.TrimSpace(s[:min(len(s), 200)])
}

// verify checks the ID token (OpenID Connect Core §3.1.3.7).
func (p *Provider) verify(ctx context.Context, d *discovered, a deviceauth.Attempt, token *oauth2.Token) (*oidc.IDToken, error) {
	raw, _ := token.Extra("id_token").(string)
	if raw == "" {
		return nil, errInvalid
	}
	id, err := d.verifier.Verify(ctx, raw)
	if err != nil {
		return nil, distrust(err)
	}
	var party struct {
		Authorized string `json:"azp"`
	}
	if err := id.Claims(&party); err != nil {
		return nil, distrust(err)
	}
	switch {
	case !same(id.Nonce, a.Nonce):
		return nil, distrust(errors.New("the nonce is another one"))
	case (len(id.Audience) > 1 || party.Authorized != "") && party.Authorized != p.cfg.ClientID:
		return nil, distrust(errors.New("azp is somebody else"))
	case id.Subject == "" || len(id.Subject) > 255:
		return nil, distrust(errors.New("sub is empty or too long"))
	case id.AccessTokenHash != "" && id.VerifyAccessToken(token.AccessToken) != nil:
		return nil, distrust(errors.New("at_hash is another token's"))
	}
	return id, nil
}

// distrust is for the person the same whatever is wrong; the reason is for the log.
func distrust(reason error) error { return fmt.Errorf("%w (%v)", errInvalid, reason) }
