package gatewaytest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// An Upstream accepts every sign-in. Its fields may be set before each sign-in. It is
// not for concurrent use.
type Upstream struct {
	Person        *deviceauth.Person     // the person whom a sign-in returns
	Begun         deviceauth.AuthRequest // the latest request
	Down          bool
	Misconfigured bool

	Finished int   // number of calls of Finish
	Refusal  error // returned by Finish, if set
}

// ID and Label are the same for all upstreams here except Home. The label has
// characters that a page must escape.
func (*Upstream) ID() string    { return "work" }
func (*Upstream) Label() string { return "Example <Work>" }

// Begin implements [deviceauth.Upstream]. No test opens the address that it returns.
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

// Finish implements [deviceauth.Upstream]. It accepts any code, and refuses if the
// answer has an error or Refusal is set. The person counts as freshly authenticated
// if the request asked for that.
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

// Reachable implements [deviceauth.Upstream]. The health endpoint of a gateway calls
// it.
func (s *Upstream) Reachable(context.Context) error {
	if s.Down {
		return errors.New("connection refused")
	}
	return nil
}

// SignOut implements [deviceauth.Upstream]. token is "good", "fault", or any other text,
// which is not a logout token.
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
