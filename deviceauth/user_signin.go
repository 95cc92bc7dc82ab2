package deviceauth

import (
	"context"
	"net/url"
	"time"
)

// An AuthRequest is a sign-in in progress. Its values are random and for this attempt
// alone, and must be stored so that only the browser that started it can present them
// (OpenID Connect Core §3.1.2.1, RFC 7636).
type AuthRequest struct {
	State         string // is returned in the callback's query
	Nonce         string // is returned in the ID token
	Verifier      string // the PKCE code verifier
	RedirectURI   string // to which the upstream redirects the browser
	SwitchAccount bool   // the person chose to use another account: prompt=select_account
	FreshSignIn   bool   // the person must authenticate again: prompt=login, max_age=0
	Prompt        string // of a [PromptError]; login replaces select_account, consent is added to it
	Hint          string // of a [PromptError]: login_hint; empty: none

	Code  UserCode // the user code that is being approved, if any
	Began time.Time
}

// A PromptError means that a sign-in failed but should be repeated once with another
// prompt (OpenID Connect Core §3.1.2.1). If that has been done already or cannot be
// done, Err is the result.
type PromptError struct {
	Prompt string // for [AuthRequest.Prompt]
	Hint   string // for [AuthRequest.Hint]
	Err    error
}

func (a *PromptError) Error() string { return a.Err.Error() + "; asking again with prompt=" + a.Prompt }
func (a *PromptError) Unwrap() error { return a.Err }

// A ConfigError means that an upstream cannot be used until an operator changes the
// configuration of the gateway or the upstream.
type ConfigError struct{ Reason string }

func (m *ConfigError) Error() string { return "misconfigured: " + m.Reason }

// An Upstream signs people in. Package upstreamidp implements it for OpenID Connect
// providers.
type Upstream interface {
	// ID returns the upstream's short name in the configuration, which is the prefix
	// of subjects.
	ID() string
	// Label returns the text of its sign-in button.
	Label() string
	// Begin returns the URL to which the browser is redirected. An error means that
	// the upstream cannot be used now or, if it is a *ConfigError, with this
	// configuration.
	Begin(ctx context.Context, a AuthRequest) (string, error)
	// Finish returns the person for the callback's query. A *Error is a refusal by
	// the upstream or the protocol, with a code for which the pages have texts; a
	// *PromptError is one that may succeed with another prompt; other errors are as
	// with Begin.
	Finish(ctx context.Context, a AuthRequest, answer url.Values) (*Person, error)
	// Reachable returns nil if the upstream can be used now, as far as is known. If
	// nothing is known it asks the upstream, until the context ends.
	Reachable(ctx context.Context) error
	// SignOut verifies a logout token (OpenID Connect Back-Channel Logout 1.0). A
	// *Error means that the token is not one of this upstream.
	SignOut(ctx context.Context, token string) (*SignOut, error)
}
