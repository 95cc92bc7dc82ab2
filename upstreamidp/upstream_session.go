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

// With revalidate, the provider's refresh token of a person is kept, and
// traded for a new one whenever one of the person's devices comes for tokens:
// a provider gives none for an account that is disabled (RFC 6749 §6).
//
// There is one for each person and not one for each device, because many
// providers let a token be used once: the gateway that asks takes a lease, so that
// devices and gateways ask one after the other, and the answer that one gets
// serves all who called while it was asking.

// An upstreamSession is the document of one person.
type upstreamSession struct {
	// the refresh token, sealed; empty: the provider takes none any more
	Token   string             `json:"token,omitempty"`
	Leased  time.Time          `json:"leased,omitzero"`   // a gateway asks until then
	Answers int                `json:"answers,omitempty"` // how many the provider gave
	Person  *deviceauth.Person `json:"person,omitempty"`  // as of the last; nil: unknown
	Filled  []string           `json:"filled,omitempty"`  // the claims of which userinfo said so
}

// The lease outlasts the longest answer: discovery, a token request and one to
// userinfo.
const (
	leaseTime = 3*requestTimeout + 5*time.Second
	leaseLook = 50 * time.Millisecond // between looks at another gateway's lease
)

var errGone = deviceauth.NewError("person_gone", "the provider no longer vouches for this person")

func upstreamSessionName(subject string) string {
	sum := sha256.Sum256([]byte(subject))
	return "voucher-" + base64.RawURLEncoding.EncodeToString(sum[:])
}

// keep remembers the refresh token of a sign-in, and reports whether there is
// one. A provider that gives one only the first time is fine.
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

// Revalidate asks the provider who a person is now. A *Error says that it no
// longer vouches for them; any other error that it could not be asked. Without
// [Config.Revalidate] it makes no request.
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
	// From here on no caller may break it off: a device that hangs up must not
	// cost its person the token that is being traded.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseTime)
	defer cancel()
	return p.settle(ctx, person, v, p.trade(ctx, person, v))
}

// applied is a person with what the last answer said of them. There is none for a
// person who signed in and was not asked about since.
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

// lease waits for its turn. The upstream session it returns is the caller's to ask
// with, or holds an answer that was given while the caller waited.
func (p *Provider) lease(ctx context.Context, subject string) (v *upstreamSession, mine bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, leaseTime)
	defer cancel()
	for since := -1; ; {
		answered := false
		err := p.change(ctx, subject, func(now *upstreamSession) error {
			if since < 0 {
				since = now.Answers
			}
			p.renew(subject, now)
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

// leased reports whether a gateway asks. A lease further ahead than any can be
// is that of a gateway with another idea of the time.
func (v *upstreamSession) leased() bool {
	left := time.Until(v.Leased)
	return left > 0 && left <= leaseTime+skew
}

// trade gives the refresh token for the next one, and for who the person is. The
// next one is kept before anything else is asked that could fail.
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
		return whole(errGone, "%v", err)
	}
	if err != nil {
		return p.failed("asking about a person", err)
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

// settle keeps the answer and gives the lease back. Where the person signed in
// anew meanwhile, that sign-in knows better.
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

// renewed is the person with what the provider says now. Without an ID token
// (OpenID Connect Core §12.2 leaves it to the provider) userinfo says it.
func (p *Provider) renewed(ctx context.Context, d *discovered, person *deviceauth.Person, answer *oauth2.Token,
	filled []string) (now *deviceauth.Person, present []string, err error) {
	if raw, _ := answer.Extra("id_token").(string); raw != "" {
		now, present, err = p.identified(ctx, d, person, raw, answer)
	} else {
		now, present, err = p.anew(ctx, d, answer, person, filled)
	}
	if deviceauth.AsError(err) != nil {
		return nil, nil, errGone // their e-mail address is not theirs any more, for one
	}
	return now, present, err
}

// identified is who an ID token says that the person is, which must be the same.
func (p *Provider) identified(ctx context.Context, d *discovered, person *deviceauth.Person, raw string,
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

// change changes the upstream session of a person.
func (p *Provider) change(ctx context.Context, subject string, change func(*upstreamSession) error) error {
	return p.cfg.Documents.UpdateDocument(ctx, upstreamSessionName(subject), func(old []byte) ([]byte, error) {
		v := new(upstreamSession)
		if old != nil {
			if err := json.Unmarshal(old, v); err != nil {
				return nil, fmt.Errorf("reading a voucher: %w", err)
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
