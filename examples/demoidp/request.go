package demoidp

import (
	"slices"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"
)

// A request is one sign-in (OpenID Connect Core §3.1.2.1).
type request struct {
	id       string
	asked    *oidc.AuthRequest
	account  string // empty until a person has signed in
	signedIn time.Time
}

// insists reports whether the person must be asked although the browser has
// signed in before: with prompt=select_account or login, or if that was longer
// ago than max_age allows.
func (r *request) insists(s session) bool {
	if slices.Contains(r.asked.Prompt, oidc.PromptSelectAccount) || slices.Contains(r.asked.Prompt, oidc.PromptLogin) {
		return true
	}
	age := r.asked.MaxAge
	return age != nil && time.Since(s.since) >= time.Duration(*age)*time.Second
}

// silent reports whether no page may be shown.
func (r *request) silent() bool { return slices.Contains(r.asked.Prompt, oidc.PromptNone) }

// The methods by which the library reads a request.
func (r *request) GetID() string                      { return r.id }
func (r *request) GetACR() string                     { return "" }
func (r *request) GetAMR() []string                   { return nil }
func (r *request) GetAudience() []string              { return []string{r.asked.ClientID} }
func (r *request) GetAuthTime() time.Time             { return r.signedIn }
func (r *request) GetClientID() string                { return r.asked.ClientID }
func (r *request) GetNonce() string                   { return r.asked.Nonce }
func (r *request) GetRedirectURI() string             { return r.asked.RedirectURI }
func (r *request) GetResponseType() oidc.ResponseType { return r.asked.ResponseType }
func (r *request) GetResponseMode() oidc.ResponseMode { return r.asked.ResponseMode }
func (r *request) GetScopes() []string                { return r.asked.Scopes }
func (r *request) GetState() string                   { return r.asked.State }
func (r *request) GetSubject() string                 { return "demo-" + r.account }
func (r *request) Done() bool                         { return r.account != "" }

// GetCodeChallenge returns nil without a challenge, as the library requires.
// CreateAuthRequest has refused such requests.
func (r *request) GetCodeChallenge() *oidc.CodeChallenge {
	if r.asked.CodeChallenge == "" {
		return nil
	}
	return &oidc.CodeChallenge{Challenge: r.asked.CodeChallenge, Method: r.asked.CodeChallengeMethod}
}
