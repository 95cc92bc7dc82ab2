package upstreamidp

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// With Revalidate the provider's refresh token of a person is stored, and used
// whenever one of the person's devices refreshes: a provider issues no tokens for a
// disabled account (RFC 6749 §6).
//
// There is one refresh token for each person and not for each device, because with
// many providers a token can be used only once. The gateway that uses it holds a
// lease, so that devices and gateways use it one after the other, and its result
// serves all callers that were waiting.

// An upstreamSession is the stored document of a person.
type upstreamSession struct {
	// the encrypted refresh token; empty: the provider has refused it
	Token   string             `json:"token,omitempty"`
	Leased  time.Time          `json:"leased,omitzero"`   // until then a gateway is using the token
	Answers int                `json:"answers,omitempty"` // number of results from the provider
	Person  *deviceauth.Person `json:"person,omitempty"`  // latest result; nil: the person is gone or unknown
	Filled  []string           `json:"filled,omitempty"`  // claims of the latest result that came from userinfo
}

// The lease lasts longer than the longest revalidation: discovery, a token request
// and one to userinfo.
const (
	leaseTime = 3*requestTimeout + 5*time.Second
	leaseLook = 50 * time.Millisecond // between checks of another gateway's lease
)

var errGone = deviceauth.NewError("person_gone", "the provider no longer vouches for this person")

func upstreamSessionName(subject string) string {
	sum := sha256.Sum256([]byte(subject))
	return "voucher-" + base64.RawURLEncoding.EncodeToString(sum[:])
}

// keep stores the refresh token of a sign-in, and reports whether there is one, now
// or from earlier: a provider may issue it only the first time.
func (p *Provider) keep(
	ctx context.Context, person *deviceauth.Person, token *oauth2.Token, filled []string,
) (kept bool, err error) {
	if !p.cfg.Revalidate {
		return true, nil
	}
	err = p.change(ctx, person.Subject, func(v *upstreamSession) error {
		if token.RefreshToken != "" {
			v.Token = p.seal(person.Subject, token.RefreshToken)
		}
		if kept = v.Token != ""; kept {
			v.Answers, v.Person, v.Filled = v.Answers+1, person, filled
		}
		return nil
	})
	return kept, err
}

// Revalidate requests a person's current claims from the provider. A *Error means
// that the provider no longer vouches for the person; any other error that it could
// not be asked. Without [Config.Revalidate] it sends no request.
func (p *Provider) Revalidate(ctx context.Context, person *deviceauth.Person) (*deviceauth.Person, error) {
	if !p.cfg.Revalidate {
		return person, nil
	}
	v, mine, err := p.lease(ctx, person.Subject)
	if err != nil {
		return nil, err
	}
	if !mine {
		return v.applied(person)
	}
	// From here on the caller must not be able to cancel: a device that disconnects
	// must not lose the token that is being exchanged.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseTime)
	defer cancel()
	return p.settle(ctx, person, v, p.trade(ctx, person, v))
}

// applied returns the person with the claims of the latest result. The person is
// unchanged if there is no result since the sign-in.
func (v *upstreamSession) applied(person *deviceauth.Person) (*deviceauth.Person, error) {
	switch {
	case v.Answers == 0:
		return person, nil
	case v.Person == nil:
		return nil, errGone
	}
	now := *person
	now.Claims, now.User, now.Withheld = v.Person.Claims, v.Person.User, v.Person.Withheld
	return &now, nil
}

// lease waits until the caller may use the token (mine), or until there is a result
// from another caller.
func (p *Provider) lease(ctx context.Context, subject string) (v *upstreamSession, mine bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, leaseTime)
	defer cancel()
	for since := -1; ; {
		answered := false
		err := p.change(ctx, subject, func(now *upstreamSession) error {
			if since < 0 {
				since = now.Answers
			}
			p.migrate(subject, now)
			v, answered = now, now.Token == "" || now.Answers > since
			if mine = !answered && !now.leased(); mine {
				now.Leased = time.Now().Add(leaseTime)
			}
			return nil
		})
		if err != nil || mine || answered {
			return v, mine, err
		}
		select {
		case <-time.After(leaseLook):
		case <-ctx.Done():
			return nil, false, fmt.Errorf("waiting for an answer about a person: %w", ctx.Err())
		}
	}
}

// leased reports whether a gateway holds the lease. A lease too far in the future is
// ignored, since it was set with a wrong clock.
func (v *upstreamSession) leased() bool {
	left := time.Until(v.Leased)
	return left > 0 && left <= leaseTime+skew
}

// trade uses the refresh token, and requests the person's claims. It stores the new
// refresh token before any other request that could fail.
func (p *Provider) trade(ctx context.Context, person *deviceauth.Person, v *upstreamSession) error {
	token := p.open(person.Subject, v.Token)
	if token == "" {
		return errGone
	}
	d, err := p.discovery.get(ctx)
	if err != nil {
		return err
	}
	ctx = oidc.ClientContext(ctx, p.cfg.HTTPClient)
	answer, err := p.client(d, "").TokenSource(ctx, &oauth2.Token{RefreshToken: token}).Token()
	var refusal *oauth2.RetrieveError
	if errors.As(err, &refusal) && refusal.ErrorCode == "invalid_grant" {
		return withDetails(errGone, "%v", err)
	}
	if err != nil {
		return p.tokenError("asking about a person", err)
	}
	before := v.Token
	v.Token = p.seal(person.Subject, answer.RefreshToken)
	err = p.change(ctx, person.Subject, func(now *upstreamSession) error {
		if now.Token == before {
			now.Token = v.Token
		}
		return nil
	})
	if err != nil {
		return err
	}
	v.Person, v.Filled, err = p.renewed(ctx, d, person, answer, v.Filled)
	return err
}

// settle stores the result and releases the lease. If the person signed in again
// meanwhile, that sign-in takes precedence.
func (p *Provider) settle(ctx context.Context, person *deviceauth.Person, asked *upstreamSession,
	err error) (*deviceauth.Person, error) {
	gone := deviceauth.AsError(err) != nil
	var after *upstreamSession
	kept := p.change(ctx, person.Subject, func(now *upstreamSession) error {
		now.Leased = time.Time{}
		switch {
		case now.Token != asked.Token:
		case gone:
			now.Token, now.Person, now.Answers = "", nil, now.Answers+1
		case err == nil:
			now.Person, now.Filled, now.Answers = asked.Person, asked.Filled, now.Answers+1
		}
		after = now
		return nil
	})
	if err != nil && !gone {
		return nil, errors.Join(err, kept)
	}
	if kept != nil {
		return nil, kept
	}
	return after.applied(person)
}

// renewed returns the person with the provider's current claims: from the ID token,
// which is optional (OpenID Connect Core §12.2), or else from userinfo.
func (p *Provider) renewed(ctx context.Context, d *discovered, person *deviceauth.Person, answer *oauth2.Token,
	filled []string) (now *deviceauth.Person, present []string, err error) {
	if raw, _ := answer.Extra("id_token").(string); raw != "" {
		now, present, err = p.fromIDToken(ctx, d, person, raw, answer)
	} else {
		now, present, err = p.fromUserinfo(ctx, d, answer, person, filled)
	}
	if deviceauth.AsError(err) != nil {
		return nil, nil, errGone // for example because their e-mail address is no longer verified
	}
	return now, present, err
}

// fromIDToken returns the person of a new ID token, which must have the same subject.
func (p *Provider) fromIDToken(ctx context.Context, d *discovered, person *deviceauth.Person, raw string,
	answer *oauth2.Token) (*deviceauth.Person, []string, error) {
	id, err := d.verifier.Verify(ctx, raw)
	if err != nil {
		p.discovery.doubt()
		return nil, nil, fmt.Errorf("asking about a person: %w", err)
	}
	if p.subject(id.Subject) != person.Subject {
		return nil, nil, errGone // OpenID Connect Core §12.2
	}
	found, err := p.person(ctx, d, id, answer)
	if err != nil {
		return nil, nil, err
	}
	return found.Person, found.filled, nil
}

// change updates the document of a person.
func (p *Provider) change(ctx context.Context, subject string, change func(*upstreamSession) error) error {
	return p.cfg.Documents.UpdateDocument(ctx, upstreamSessionName(subject), func(old []byte) ([]byte, error) {
		v := new(upstreamSession)
		if old != nil {
			if err := json.Unmarshal(old, v); err != nil {
				return nil, fmt.Errorf("reading an upstream session: %w", err)
			}
		}
		if err := change(v); err != nil {
			return nil, err
		}
		document, err := json.Marshal(v)
		if bytes.Equal(document, []byte("{}")) {
			return old, err // nothing is known of the person, and nothing was added
		}
		return document, err
	})
}
