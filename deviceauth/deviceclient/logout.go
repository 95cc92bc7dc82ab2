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

// An Outcome is the result of a logout, as a sentence.
type Outcome string

// The results of a logout.
const (
	NotLoggedIn Outcome = "Nobody was logged in."
	Revoked     Outcome = "Logged out: the token was revoked and deleted."
	Deleted     Outcome = "Logged out: the token was deleted. The server cannot revoke it, so it would work " +
		"until it expires."
)

// Logout revokes the stored token and deletes it. It also revokes a token that others
// could read, for which a logout is most important. If the token cannot be revoked it
// stays stored, so that the logout can be repeated; the error says where.
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

// revoke revokes a token (RFC 7009 §2.1). The refresh token is sent if there is one,
// which revokes the access tokens, too. The status is 200 even for an unknown token
// (RFC 7009 §2.2).
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
	if o.ClientSecret != "" { // encoded as required by RFC 6749 §2.3.1
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
