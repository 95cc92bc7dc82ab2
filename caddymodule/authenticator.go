package caddymodule

import (
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
)

// Authenticator is the guard as a provider of Caddy's `authentication` handler,
// for those who combine it with others. It can only say 401, and it sets the
// placeholders of that handler and no header: what a client sends under the
// names of identity headers reaches the backend. The directive device_auth is
// the better choice wherever it will do.
type Authenticator struct {
	// Scopes that the token must have, all of them.
	Scopes []string `json:"scopes,omitempty"`
	// Audiences of which the token must have one. Default: the server's; with
	// edge the server's issuer URL alone, whatever its own guards accept.
	Audience []string `json:"audience,omitempty"`
	// The server, where that is another Caddy, without origins: this provider
	// sets no header. Default: this one's.
	Edge *Edge `json:"edge,omitempty"`

	guard *Guard
}

// CaddyModule returns the module's registration.
func (Authenticator) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.authentication.providers.device_auth", New: func() caddy.Module { return new(Authenticator) }}
}

// Provision makes a guard of it.
func (a *Authenticator) Provision(ctx caddy.Context) error {
	if a.Edge != nil && len(a.Edge.Origins) > 0 {
		return errors.New("device_auth: edge: origins have no effect here; take the handler device_auth, or say them to the backend")
	}
	a.guard = &Guard{Scopes: a.Scopes, Audience: a.Audience, Edge: a.Edge, Authorization: "keep"}
	return a.guard.Provision(ctx)
}

// Authenticate implements caddyauth.Authenticator.
func (a *Authenticator) Authenticate(w http.ResponseWriter, r *http.Request) (user caddyauth.User, ok bool, err error) {
	if err := guard.CheckTarget(r); err != nil {
		decided(decisionMalformed)
		return user, false, err
	}
	sentry, leave, err := a.guard.at(r)
	if err != nil {
		return user, false, err
	}
	defer leave()
	id, _, err := sentry.Authenticate(came(r), "")
	var challenge *guard.Challenge
	if errors.As(err, &challenge) {
		decided(decisionOf(challenge))
		w.Header()["Www-Authenticate"] = challenge.Headers
		return user, false, nil
	}
	if err != nil {
		decided(decisionUnavailable)
		return user, false, err
	}
	decided(decisionAdmitted)
	user = caddyauth.User{ID: id.Claim("user"), Metadata: map[string]string{}}
	for name, claim := range placeholders {
		user.Metadata[name] = id.Claim(claim)
	}
	return user, true, nil
}

var (
	_ caddyauth.Authenticator = (*Authenticator)(nil)
	_ caddy.Provisioner       = (*Authenticator)(nil)
)
