package deviceclient

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/oauth2"
)

// margin is how long a kept token must still be good to be handed out, so that
// it outlives the request it was wanted for.
const margin = time.Minute

// Token returns the kept token while it is good, and refreshes it otherwise. A
// person is asked only where nothing is kept or the server refuses the refresh;
// a server that does not answer is an error, and the token stays.
// Errors are [ErrDenied], [ErrExpired] and [ErrInteraction] where a person was
// or would have been asked, and otherwise faults. Two processes that call it at
// once get the same token, one after the other.
func (f Folder) Token(ctx context.Context, s Server, o Options) (token *oauth2.Token, err error) {
	defer sanitize(&err)
	p, err := f.open(ctx, s, o)
	if err != nil {
		return nil, err
	}
	defer p.close()
	old, err := p.load(userOnly)
	if err != nil || old != nil && o.good(old) {
		return old, err
	}
	token, err = refresh(ctx, s, o, old)
	if errors.Is(err, errRefused) {
		token, err = Login(ctx, s, o)
	}
	return p.keep(token, err)
}

// Anew asks a person whatever is kept, and replaces it. The old token is not
// revoked; it stays until the new one is saved.
func (f Folder) Anew(ctx context.Context, s Server, o Options) (token *oauth2.Token, err error) {
	defer sanitize(&err)
	p, err := f.open(ctx, s, o)
	if err != nil {
		return nil, err
	}
	defer p.close()
	return p.keep(Login(ctx, s, o))
}

// keep saves a token before it is handed out: a refresh token that is printed
// and lost would be the last one.
func (p *entry) keep(t *oauth2.Token, err error) (*oauth2.Token, error) {
	if err == nil {
		err = p.save(t)
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

// good reports whether a token can be used for a while. One of which the
// server did not say when it ends is good until the API refuses it. One that
// cannot be refreshed is used up: no person is asked sooner because more is wanted.
func (o Options) good(t *oauth2.Token) bool {
	wanted := margin
	if t.RefreshToken != "" {
		wanted = max(margin, o.ValidFor)
	}
	return t.Expiry.IsZero() || time.Until(t.Expiry) >= wanted
}

// errRefused means that only a person can help.
var errRefused = errors.New("there is nothing to refresh")

// refresh uses a refresh token (RFC 6749 §6). Once sent it is heard out, also
// by a user who interrupts: the answer may hold the only good refresh token.
func refresh(ctx context.Context, s Server, o Options, old *oauth2.Token) (*oauth2.Token, error) {
	if old == nil || old.RefreshToken == "" {
		return nil, errRefused
	}
	ctx = o.posting(context.WithoutCancel(ctx))
	token, err := o.config(s).TokenSource(ctx, &oauth2.Token{RefreshToken: old.RefreshToken}).Token()
	var refusal *oauth2.RetrieveError
	switch {
	case errors.As(err, &refusal) && refusal.ErrorCode == "invalid_grant":
		o.note("The server refuses to refresh the kept token: %v", plain(err))
		return nil, errRefused
	case err != nil:
		return nil, fmt.Errorf("refreshing the kept token: %w", plain(err))
	case extra(token, "scope") == "": // as it was, says RFC 6749 §5.1
		token = token.WithExtra(map[string]any{"scope": extra(old, "scope"), "id_token": extra(token, "id_token")})
	}
	return token, checkToken(token)
}
