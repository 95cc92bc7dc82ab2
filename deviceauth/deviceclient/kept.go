package deviceclient

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/oauth2"
)

// margin is how long a stored token must still be valid to be used, so that it
// outlives the request for which it is wanted.
const margin = time.Minute

// Token returns the stored token while it is valid, and refreshes it otherwise. It
// asks a person only if there is no token or the server refuses the refresh; if the
// server does not respond it returns an error, and keeps the token. Errors are
// [ErrDenied], [ErrExpired] and [ErrInteraction] if a person was or would have been
// asked, and otherwise faults. Simultaneous processes get the same token, one after
// the other.
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

// Anew asks a person even if there is a stored token, and replaces that. It does not
// revoke the old token, which stays stored until the new one is saved.
func (f Folder) Anew(ctx context.Context, s Server, o Options) (token *oauth2.Token, err error) {
	defer sanitize(&err)
	p, err := f.open(ctx, s, o)
	if err != nil {
		return nil, err
	}
	defer p.close()
	return p.keep(Login(ctx, s, o))
}

// keep saves a token before it is returned: a refresh token that is used but not
// saved would be lost.
func (p *entry) keep(t *oauth2.Token, err error) (*oauth2.Token, error) {
	if err == nil {
		err = p.save(t)
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

// good reports whether a token can be used for some time. A token without an expiry
// is used until the API refuses it. A token that cannot be refreshed is used until
// margin before its expiry, whatever ValidFor is, since a new one would need a
// person.
func (o Options) good(t *oauth2.Token) bool {
	wanted := margin
	if t.RefreshToken != "" {
		wanted = max(margin, o.ValidFor)
	}
	return t.Expiry.IsZero() || time.Until(t.Expiry) >= wanted
}

// errRefused means that a person must be asked.
var errRefused = errors.New("there is nothing to refresh")

// refresh uses a refresh token (RFC 6749 §6). Once the request is sent it cannot be
// cancelled, even by an interrupt: the response may contain the only valid refresh
// token.
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
	case extra(token, "scope") == "": // unchanged (RFC 6749 §5.1)
		token = token.WithExtra(map[string]any{"scope": extra(old, "scope"), "id_token": extra(token, "id_token")})
	}
	return token, checkToken(token)
}
