package deviceauth

import (
	"context"
	"net/url"
	"time"
)

// An Attempt is one sign-in on its way through a browser. Its values are
// random, made for this attempt alone, and kept where only the browser that
// began it can present them (OpenID Connect Core §3.1.2.1, RFC 7636).
type Attempt struct {
	State       string // returns in the callback's query
	Nonce       string // returns in the ID token
	Verifier    string // the PKCE code verifier
	RedirectURI string // where the upstream sends the browser back
	Switch      bool   // the person asked to use another account: prompt=select_account
	Fresh       bool   // the person has to prove anew who they are: prompt=login, max_age=0
	Prompt      string // of an [AskAgain]; login takes the place of select_account, consent stands beside it
	Hint        string // of an [AskAgain]: login_hint; empty: none

	Code  UserCode // the code that is on its way, if any
	Began time.Time
}

// An AskAgain says that an attempt came to nothing as it was asked for, and that
// the upstream is to be asked once more, with another prompt (OpenID Connect Core
// §3.1.2.1). Whoever does not, or has done so already, has in Err what came of it.
type AskAgain struct {
	Prompt string // for [Attempt.Prompt]
	Hint   string // for [Attempt.Hint]
	Err    error
}

func (a *AskAgain) Error() string { return a.Err.Error() + "; asking again with prompt=" + a.Prompt }
func (a *AskAgain) Unwrap() error { return a.Err }

// A Misconfigured error says that an upstream cannot be used until an operator
// changes the configuration here or there: time does not heal it.
type Misconfigured struct{ Reason string }

func (m *Misconfigured) Error() string { return "misconfigured: " + m.Reason }

// An Upstream signs people in. Package upstreamidp has the one for OpenID
// Connect providers.
type Upstream interface {
	// ID is the upstream's short name in the configuration; it prefixes subjects.
	ID() string
	// Label is the text of its sign-in button.
	Label() string
	// Begin returns the address to send the browser to. An error means that
	// the upstream cannot be used now or, where it is a *Misconfigured, as it is
	// configured.
	Begin(ctx context.Context, a Attempt) (string, error)
	// Finish turns the callback's query into a person. A *Refusal is the
	// upstream's or the protocol's no, by a code for which pages have words; an
	// *AskAgain one that another attempt may turn into a yes; any other error
	// means what it means of Begin.
	Finish(ctx context.Context, a Attempt, answer url.Values) (*Person, error)
	// Reachable returns nil where the upstream can be used now, as far as is
	// known. It asks where nothing is, for as long as the context lets it.
	Reachable(ctx context.Context) error
	// Logout reads a logout token (OpenID Connect Back-Channel Logout 1.0). A
	// *Refusal says that it is not one of this upstream's.
	Logout(ctx context.Context, token string) (*Logout, error)
}
