package gatewaytest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// An Upstream is one that accepts every sign-in. The fields may be set before
// each sign-in. It is for one goroutine.
type Upstream struct {
	Person        *deviceauth.Person     // who signs in
	Begun         deviceauth.AuthRequest // the latest
	Down          bool
	Misconfigured bool

	Finished int   // how often Finish was called
	Refusal  error // of Finish
}

// ID and Label are those of every upstream here but Home; the label has
// characters that a page must escape.
func (*Upstream) ID() string    { return "work" }
func (*Upstream) Label() string { return "Example <Work>" }

// Begin implements [deviceauth.Upstream]. The redirect leads to an address
// that no test opens.
func (s *Upstream) Begin(_ context.Context, a deviceauth.AuthRequest) (string, error) {
	switch {
	case s.Down:
		return "", errors.New("connection refused")
	case s.Misconfigured:
		return "", fmt.Errorf("discovery: %w", &deviceauth.ConfigError{Reason: "it calls itself otherwise"})
	}
	s.Begun = a
	return "https://login.example.com/authorize?state=" + a.State, nil
}

// Finish accepts any code, and refuses where the answer has an error or
// Refusal is set. The person counts as having signed in anew where the request
// asked for that. The method implements [deviceauth.Upstream].
func (s *Upstream) Finish(_ context.Context, _ deviceauth.AuthRequest, answer url.Values) (*deviceauth.Person, error) {
	if s.Finished++; s.Refusal != nil {
		return nil, s.Refusal
	}
	if answer.Get("error") != "" {
		return nil, deviceauth.NewError("sign_in_cancelled", "access_denied")
	}
	p := *s.Person
	if p.SignedIn = s.Begun.Began; s.Begun.FreshSignIn {
		p.Fresh = s.Begun.Code
	}
	return &p, nil
}

// Reachable implements [deviceauth.Upstream]. The health endpoint of a gateway
// asks this.
func (s *Upstream) Reachable(context.Context) error {
	if s.Down {
		return errors.New("connection refused")
	}
	return nil
}

// SignOut implements [deviceauth.Upstream]. The token is "good", "fault", or
// anything else, which is no logout token.
func (s *Upstream) SignOut(_ context.Context, token string) (*deviceauth.SignOut, error) {
	switch token {
	case "fault":
		return nil, errors.New("connection refused")
	case "good":
		return &deviceauth.SignOut{Upstream: "work", Subject: "work|1", At: time.Now()}, nil
	}
	return nil, deviceauth.NewError("invalid_request", "not a logout token")
}

// Home is a second upstream beside the first.
type Home struct{ *Upstream }

func (Home) ID() string    { return "home" }
func (Home) Label() string { return "Home" }
