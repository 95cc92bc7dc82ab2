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

	Code  UserCode // the code that is on its way, if any
	Began time.Time
}

// An Upstream signs people in. Package upstreamidp has the one for OpenID
// Connect providers.
type Upstream interface {
	// ID is the upstream's short name in the configuration; it prefixes subjects.
	ID() string
	// Label is the text of its sign-in button.
	Label() string
	// Begin returns the address to send the browser to. An error means that
	// the upstream cannot be used now.
	Begin(ctx context.Context, a Attempt) (string, error)
	// Finish turns the callback's query into a person. A *Refusal is the
	// upstream's or the protocol's no, by a code for which pages have words;
	// any other error means that the upstream could not be asked.
	Finish(ctx context.Context, a Attempt, answer url.Values) (*Person, error)
	// Reachable returns nil where the upstream can be used now, as far as is
	// known. It asks where nothing is, for as long as the context lets it.
	Reachable(ctx context.Context) error
	// Logout reads a logout token (OpenID Connect Back-Channel Logout 1.0). A
	// *Refusal says that it is not one of this upstream's.
	Logout(ctx context.Context, token string) (*Logout, error)
}
