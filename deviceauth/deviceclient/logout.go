package deviceclient

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/oauth2"
)

// An Outcome of a logout, in words.
type Outcome string

// Where a logout ends.
const (
	NotLoggedIn Outcome = "Nobody was logged in."
	Revoked     Outcome = "Logged out: the token was revoked and deleted."
	Deleted     Outcome = "Logged out: the token was deleted. The server cannot revoke it, so it would work " +
		"until it expires."
)

// Logout revokes what is kept and deletes it, also where others may have read
// it. What could not be revoked is kept, so that it can be tried again.
// A token that others could read is revoked as well, which is the point of
// logging out then. The error says where the token stays if the server did not
// answer.
func (f Folder) Logout(ctx context.Context, s Server, o Options) (outcome Outcome, err error) {
	defer sanitize(&err)
	p, err := f.open(ctx, s, o)
	if err != nil {
		return "", err
	}
	defer p.close()
	token, err := p.load(others)
	if err != nil {
		return "", err
	}
	outcome = Deleted
	switch {
	case token == nil:
		outcome = NotLoggedIn
	case s.Revocation != "":
		if err := revoke(ctx, s, o, token); err != nil {
			return "", fmt.Errorf("revoking the token, which stays in %s: %w", p.path, err)
		}
		outcome = Revoked
	}
	return outcome, p.remove()
}

// revoke gives a token back (RFC 7009 §2.1). With the refresh token goes what
// was made of it. RFC 7009 §2.2: 200 also where the token was not known.
func revoke(ctx context.Context, s Server, o Options, t *oauth2.Token) error {
	form := url.Values{"client_id": {o.ClientID}, "token": {t.AccessToken}, "token_type_hint": {"access_token"}}
	if t.RefreshToken != "" {
		form.Set("token", t.RefreshToken)
		form.Set("token_type_hint", "refresh_token")
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.Revocation, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if o.ClientSecret != "" { // escaped, says RFC 6749 §2.3.1
		r.SetBasicAuth(url.QueryEscape(o.ClientID), url.QueryEscape(o.ClientSecret))
	}
	answer, err := posting(o.HTTP).Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(answer.Body, maxErrorBody))
		return unexpected(answer, body)
	}
	return nil
}
