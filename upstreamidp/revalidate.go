package upstreamidp

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
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
// a provider gives none for somebody who has been disabled (RFC 6749 §6).
//
// There is one for each person and not one for each device, because many
// providers let a token be used once: whoever asks takes a lease, so that
// devices and gateways ask one after the other, and the answer that one gets
// serves all who came while it was asking.

// A voucher is the document of one person.
type voucher struct {
	Token   string             `json:"token,omitempty"` // the refresh token, sealed; empty: the provider takes none any more
	Leased  time.Time          `json:"leased,omitzero"` // somebody asks until then
	Checked time.Time          `json:"checked,omitzero"`
	Person  *deviceauth.Person `json:"person,omitempty"` // as of then; nil: nobody
}

// The lease outlasts the longest answer: a token request and one to userinfo.
const (
	leaseTime = 2*patience + 5*time.Second
	leaseLook = 50 * time.Millisecond // between looks at somebody else's lease
)

var errGone = deviceauth.Refuse("person_gone", "the provider no longer vouches for this person")

func voucherName(subject string) string {
	sum := sha256.Sum256([]byte(subject))
	return "voucher-" + base64.RawURLEncoding.EncodeToString(sum[:])
}

// keep remembers the refresh token of a sign-in. A provider that gives one
// only the first time is fine.
func (p *Provider) keep(ctx context.Context, person *deviceauth.Person, token *oauth2.Token) error {
	if !p.cfg.Revalidate {
		return nil
	}
	return p.change(ctx, person.Subject, func(v *voucher) error {
		switch {
		case token.RefreshToken != "":
			v.Token = p.seal(person.Subject, token.RefreshToken)
		case v.Token == "":
			return errNoRefresh
		}
		v.Checked, v.Person = time.Now(), person
		return nil
	})
}

// Revalidate asks the provider who a person is now. A *Refusal says that it no
// longer vouches for them; any other error that it could not be asked. Without
// [Config.Revalidate] it asks nobody.
func (p *Provider) Revalidate(ctx context.Context, person *deviceauth.Person) (*deviceauth.Person, error) {
	if !p.cfg.Revalidate {
		return person, nil
	}
	ctx, cancel := context.WithTimeout(ctx, leaseTime)
	defer cancel()
	v, mine, err := p.lease(ctx, person.Subject, time.Now())
	if err != nil {
		return nil, err
	}
	if !mine {
		return v.applied(person)
	}
	asked, token, err := p.askAgain(ctx, person, p.open(person.Subject, v.Token))
	// Kept whether or not somebody still waits: the token that was traded in
	// is worth nothing now.
	kept := p.change(context.WithoutCancel(ctx), person.Subject, func(now *voucher) error {
		now.Leased = time.Time{}
		if now.Token == v.Token && (err == nil || deviceauth.Refused(err) != nil) { // no new sign-in came between
			now.Token, now.Checked, now.Person = p.seal(person.Subject, token), time.Now(), asked
		}
		return nil
	})
	if err = errors.Join(err, kept); err != nil {
		return nil, err
	}
	return asked, nil
}

// applied is a person with what the last answer said of them. Of somebody who
// signed in before anybody was asked again there is none.
func (v *voucher) applied(person *deviceauth.Person) (*deviceauth.Person, error) {
	switch {
	case v.Checked.IsZero():
		return person, nil
	case v.Person == nil:
		return nil, errGone
	}
	now := *person
	now.Claims, now.User = v.Person.Claims, v.Person.User
	return &now, nil
}

// lease waits for its turn. The voucher it returns is the caller's to ask
// with, or holds an answer that is younger than the question.
func (p *Provider) lease(ctx context.Context, subject string, since time.Time) (v *voucher, mine bool, err error) {
	for {
		answered := false
		err := p.change(ctx, subject, func(now *voucher) error {
			v, answered = now, now.Token == "" || now.Checked.After(since)
			if mine = !answered && now.Leased.Before(time.Now()); mine {
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

// askAgain trades a refresh token for the next one, and for who the person is.
func (p *Provider) askAgain(ctx context.Context, person *deviceauth.Person, token string) (*deviceauth.Person, string, error) {
	if token == "" {
		return nil, "", errGone
	}
	d, err := p.discovery.get(ctx)
	if err != nil {
		return nil, "", err
	}
	ctx = oidc.ClientContext(ctx, p.cfg.HTTPClient)
	answer, err := p.client(d, "").TokenSource(ctx, &oauth2.Token{RefreshToken: token}).Token()
	var said *oauth2.RetrieveError
	if errors.As(err, &said) && said.ErrorCode == "invalid_grant" {
		return nil, "", errGone
	}
	if err != nil {
		return nil, "", fmt.Errorf("asking about a person: %w", err)
	}
	now, err := p.renewed(ctx, d, person, answer)
	return now, answer.RefreshToken, err
}

// renewed is the person with what the provider says now. Without an ID token
// (OpenID Connect Core §12.2 leaves it to the provider) userinfo is asked;
// what neither says stays as it was.
func (p *Provider) renewed(ctx context.Context, d *discovered, person *deviceauth.Person, answer *oauth2.Token) (*deviceauth.Person, error) {
	now := *person
	raw, _ := answer.Extra("id_token").(string)
	if raw == "" {
		claims, err := p.userinfo(ctx, d, answer, person)
		now.Claims = claims
		return &now, err
	}
	id, err := d.verifier.Verify(ctx, raw)
	if err != nil {
		return nil, fmt.Errorf("asking about a person: %w", err)
	}
	if p.subject(id.Subject) != person.Subject {
		return nil, errGone // OpenID Connect Core §12.2: it must be the same
	}
	said, err := p.person(ctx, d, id, answer)
	if deviceauth.Refused(err) != nil {
		return nil, errGone // their e-mail address is not theirs any more, for one
	}
	if err != nil {
		return nil, err
	}
	now.Claims, now.User = said.Claims, said.User
	return &now, nil
}

// change changes the voucher of a person.
func (p *Provider) change(ctx context.Context, subject string, change func(*voucher) error) error {
	return p.cfg.Vault.Change(ctx, voucherName(subject), func(old []byte) ([]byte, error) {
		v := new(voucher)
		if old != nil {
			if err := json.Unmarshal(old, v); err != nil {
				return nil, fmt.Errorf("reading a voucher: %w", err)
			}
		}
		before := *v
		if err := change(v); err != nil {
			return nil, err
		}
		if before == *v {
			return old, nil
		}
		return json.Marshal(v)
	})
}

// seal hides a refresh token from whoever reads the store: AES-256-GCM, bound
// to the person. No token is "".
func (p *Provider) seal(subject, token string) string {
	if token == "" {
		return ""
	}
	return base64.RawStdEncoding.EncodeToString(p.sealer().Seal(nil, nil, []byte(token), []byte(subject)))
}

// open returns "" for what was sealed with another key: the provider refuses
// that like any token it does not know.
func (p *Provider) open(subject, sealed string) string {
	raw, err := base64.RawStdEncoding.DecodeString(sealed)
	if err != nil {
		return ""
	}
	token, err := p.sealer().Open(nil, nil, raw, []byte(subject))
	if err != nil {
		return ""
	}
	return string(token)
}

func (p *Provider) sealer() cipher.AEAD {
	block, err := aes.NewCipher(p.cfg.Key[:])
	if err != nil {
		panic(err) // the key has the right length by its type
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // AES has the right block
	}
	return aead
}
