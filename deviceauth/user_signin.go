package deviceauth

import (
	"context"
	"net/url"
	"time"
)

// An AuthRequest is one sign-in on its way through a browser. Its values are
// random, made for this attempt alone, and kept where only the browser that
// began it can present them (OpenID Connect Core §3.1.2.1, RFC 7636).
type AuthRequest struct {
	State         string // returns in the callback's query
	Nonce         string // returns in the ID token
	Verifier      string // the PKCE code verifier
	RedirectURI   string // where the upstream sends the browser back
	SwitchAccount bool   // the person asked to use another account: prompt=select_account
	FreshSignIn   bool   // the person has to prove anew who they are: prompt=login, max_age=0
	Prompt        string // of an [PromptError]; login takes the place of select_account, consent stands beside it
	Hint          string // of an [PromptError]: login_hint; empty: none

	Code  UserCode // the code that is on its way, if any
	Began time.Time
}

// A PromptError says that an attempt failed as it was asked for, and that
// the upstream is to be asked once more, with another prompt (OpenID Connect Core
// §3.1.2.1). If the person does not, or has done so already, Err has the outcome.
type PromptError struct {
	Prompt string // for [AuthRequest.Prompt]
	Hint   string // for [AuthRequest.Hint]
	Err    error
}

func (a *PromptError) Error() string { return a.Err.Error() + "; asking again with prompt=" + a.Prompt }
func (a *PromptError) Unwrap() error { return a.Err }

// A ConfigError says that an upstream cannot be used until an operator
// changes the configuration here or there: time does not heal it.
type ConfigError struct{ Reason string }

func (m *ConfigError) Error() string { return "misconfigured: " + m.Reason }

// An Upstream signs people in. Package upstreamidp has the one for OpenID
// Connect providers.
type Upstream interface {
	// ID is the upstream's short name in the configuration; it prefixes subjects.
	ID() string
	// Label is the text of its sign-in button.
	Label() string
	// Begin returns the address to send the browser to. An error means that
	// the upstream cannot be used now or, where it is a *ConfigError, as it is
	// configured.
	Begin(ctx context.Context, a AuthRequest) (string, error)
	// Finish turns the callback's query into a person. A *Error is the
	// upstream's or the protocol's no, by a code for which pages have words; an
	// *PromptError one that another attempt may turn into a yes; any other error
	// means what it means of Begin.
	Finish(ctx context.Context, a AuthRequest, answer url.Values) (*Person, error)
	// Reachable returns nil where the upstream can be used now, as far as is
	// known. It asks where nothing is, for as long as the context lets it.
	Reachable(ctx context.Context) error
	// SignOut reads a logout token (OpenID Connect Back-Channel Logout 1.0). A
	// *Error says that it is not one of this upstream's.
	SignOut(ctx context.Context, token string) (*SignOut, error)
}
