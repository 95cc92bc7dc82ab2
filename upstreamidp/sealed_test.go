package upstreamidp

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/upstreamidp/idptest"
)

// sealedBefore puts a person's refresh token back as it was sealed before there
// was a format, and returns it.
func sealedBefore(t *testing.T, p *Provider, person *deviceauth.Person) (sealed string) {
	t.Helper()
	err := p.change(t.Context(), person.Subject, func(v *upstreamSession) error {
		raw := zeroSealer().Seal(nil, nil, []byte(p.open(person.Subject, v.Token)), []byte(person.Subject))
		sealed = base64.RawStdEncoding.EncodeToString(raw)
		v.Token = sealed
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func voucherOf(t *testing.T, p *Provider, person *deviceauth.Person) (v upstreamSession) {
	t.Helper()
	if err := p.change(t.Context(), person.Subject,
		func(now *upstreamSession) error { v = *now; return nil }); err != nil {
		t.Fatal(err)
	}
	return v
}

// protocol 23
func TestTokenSealedWithoutAKeyIsSealedAnewAndCostsNoDevice(t *testing.T) {
	idp, p, _, person := known(t, idptest.Behaviour{})
	sealedBefore(t, p, person)
	idp.Behave(idptest.Behaviour{Down: true}) // sealing again waits for no provider
	if _, err := p.Revalidate(t.Context(), person); err == nil || deviceauth.AsError(err) != nil {
		t.Errorf("the provider is down: %v", err)
	}
	v := voucherOf(t, p, person)
	if !strings.HasPrefix(v.Token, sealedFormat) || p.open(person.Subject, v.Token) == "" {
		t.Errorf("the token is kept as %q", v.Token)
	}
	if unseal(zeroSealer(), person.Subject, strings.TrimPrefix(v.Token, sealedFormat)) != "" {
		t.Error("it opens without the key")
	}
	idp.Behave(idptest.Behaviour{Refresh: true})
	if _, err := p.Revalidate(t.Context(), person); err != nil {
		t.Errorf("when the provider is back: %v", err)
	}
	idp.Behave(idptest.Behaviour{Refresh: true, Disabled: true})
	if _, err := p.Revalidate(t.Context(), person); deviceauth.AsError(err) == nil {
		t.Errorf("a person disabled since: %v", err)
	}
}

// An attacker who can write an upstream session must not gain anything by marking it
// as one of the old format.
func TestZeroKeyOpensNothingOfTheFormatOfToday(t *testing.T) {
	_, p, _, person := known(t, idptest.Behaviour{})
	forged := sealedFormat + sealedBefore(t, p, person)
	if p.open(person.Subject, forged) != "" {
		t.Error("it opens")
	}
	v := &upstreamSession{Token: forged}
	if p.migrate(person.Subject, v); v.Token != forged {
		t.Errorf("it is sealed anew, as %q", v.Token)
	}
}
