package devicecheck

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/deviceclient"
)

// The checks in this file go through the whole flow with a person. All tokens from
// it are revoked.

// loggedIn is the result of a login. The mutex guards given and revoked: when the run
// is interrupted, a goroutine of the login library may still be receiving a response.
type loggedIn struct {
	tokens
	mu       sync.Mutex
	answer   *answer  // the response of the token endpoint
	given    []string // all tokens ever issued, the refresh tokens first
	sub      string   // sub of the ID token
	revoked  bool     // the tokens have been revoked
	accepted bool     // the API accepted the access token
}

// tokens is the token response of RFC 6749 §5.1.
type tokens struct {
	Access  string  `json:"access_token"`
	Type    string  `json:"token_type"`
	Expires float64 `json:"expires_in"`
	Refresh string  `json:"refresh_token"`
	ID      string  `json:"id_token"`
	Scope   string  `json:"scope"`
}

// record records the tokens in a response of the token endpoint. It returns false for
// anything that is not a success response of RFC 6749 §5.1. The refresh token goes to
// the front, so that revoking in order ends the grant first and with it the access
// tokens (RFC 7009 §2.1).
func (l *loggedIn) record(a *answer) (t tokens, ok bool) {
	if !a.ok() || json.Unmarshal(a.body, &t) != nil || t.Access == "" {
		return t, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.Refresh != "" {
		l.given = append([]string{t.Refresh}, l.given...)
	}
	l.given = append(l.given, t.Access)
	return t, true
}

// tokenRecorder is a transport that records the responses of the token endpoint. The
// login library returns only a part of them, and none of the tokens that it received
// before an interrupt.
type tokenRecorder struct {
	http.RoundTripper
	login *loggedIn
	at    string
}

// RoundTrip reads the body of a token response whole and replaces it with a copy for
// the library. Responses of other addresses pass through unread.
func (l tokenRecorder) RoundTrip(q *http.Request) (*http.Response, error) {
	response, err := l.RoundTripper.RoundTrip(q)
	if err != nil || q.URL.String() != l.at {
		return response, err
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	response.Body.Close()
	if err != nil {
		return nil, err
	}
	response.Body = io.NopCloser(bytes.NewReader(body))
	a := &answer{asked: "POST " + quote(l.at), at: q.URL, status: response.StatusCode,
		header: response.Header, body: body}
	if t, ok := l.login.record(a); ok {
		l.login.tokens, l.login.answer = t, a
	}
	return response, nil
}

// loginFlow logs in with deviceclient, the library that real devices use, and with
// the same options. The later checks use the raw responses, see tokenRecorder,
// because the library hides headers and members that they judge.
func (r *run) loginFlow() finding {
	if r.cfg.Login == nil {
		return skip("asked with --login: it takes a person")
	}
	_, resource, _ := r.asksFor()
	by := *r.http
	by.Transport = tokenRecorder{RoundTripper: r.http.Transport, login: r.login, at: r.server.Token}
	_, err := deviceclient.Login(r.ctx, deviceclient.Server{
		Issuer: r.server.Issuer, DeviceAuthorization: r.server.DeviceAuthorization, Token: r.server.Token,
		Revocation: r.server.Revocation,
		API:        r.target.Scheme + "://" + r.target.Host, // the prompt names the API if the server is another host
		Resource:   resource,
	}, deviceclient.Options{
		HTTP: &by, ClientID: r.cfg.ClientID, ClientSecret: r.cfg.ClientSecret, Scopes: r.cfg.Scopes,
		Audience: r.cfg.Audience, Show: r.cfg.Login,
	})
	switch {
	case errors.Is(err, deviceclient.ErrDenied):
		return found("the request was denied").
			fail("If nobody said no: the person may not approve (`allow` in `upstream` and `client`), or was " +
				"taken out since.")
	case errors.Is(err, deviceclient.ErrExpired):
		return found("nobody answered in time").fail("Open the address that was shown, and type the code.")
	case err != nil:
		return found("%s", quote(err.Error())).
			fail("Look at Caddy's log at this time: it says which event ended the login.")
	case r.login.answer == nil:
		return found("the answer of %s was not heard", quote(r.server.Token)).
			fail("Find out what else answers this path.")
	}
	return pass("a person allowed it")
}

// loginResponse judges the token response (RFC 6749 §5.1). Cache-Control comes first,
// because it is the only one of these defects by which tokens leak. token_type is
// compared without regard to case (RFC 6749 §5.1).
func (r *run) loginResponse() finding {
	l := r.login
	switch {
	case l.answer.cacheable():
		return found("%s with Cache-Control %q, and tokens in it", l.answer,
			quote(l.answer.header.Get("Cache-Control"))).
			fail("The server sends no-store (RFC 6749 §5.1); look for `header Cache-Control` in the Caddyfile, or a " +
				"CDN's rule that changes it.")
	case !strings.EqualFold(l.Type, "Bearer"):
		return found("token_type is %q", quote(l.Type)).
			fail("Guards want Bearer (RFC 6750); ours says so, find out what changes the answer.")
	case l.Expires <= 0:
		return found("expires_in is %v", l.Expires).
			warn("Clients cannot know when to refresh. Set `lifetime access_token 15m`; it is the default.")
	}
	return pass("tokens for %v s, of scope %q", l.Expires, quote(l.Scope))
}

// loginAPI calls the API as the device does. It separates refusals by the guard from
// those by the backend: insufficient_scope is the guard's and has a remedy of its
// own, another 401 or 403 may be either's, and a status of 500 and above is the
// backend's, since the guard let the request through. loginRevoke needs accepted.
func (r *run) loginAPI() finding {
	if r.ownMetadata != nil {
		return skip("the URL is the server's own; give a guarded API's to have it called")
	}
	a := r.callAPI(r.login.Access)
	challenge, _ := a.challenge()
	switch {
	case a.err != nil:
		return about(a.asked, explain(a.err))
	case a.status == http.StatusForbidden &&
		deviceclient.ChallengeParameter(challenge, "error") == "insufficient_scope":
		return found("%s, with the token just given: %s", a, quote(challenge)).
			fail("The guard wants scopes that this client was not given: add them to `scopes` in `client %s`, or ask "+
				"for them by --scope.", r.cfg.ClientID)
	case a.status == http.StatusUnauthorized || a.status == http.StatusForbidden:
		return found("%s, with the token just given: %s", a, quote(challenge)).
			fail("The guard does not take this server's token, or the backend has its own idea. Compare `audience` " +
				"of the guard and of `device_login`, the guard's `issuer`, and the clocks; a backend that wants " +
				"credentials gets them by `header_up`.")
	case a.status >= 500:
		return found("%s, with the token just given", a).
			warn("The guard let it through, and the backend failed: look at its log, and at `reverse_proxy` in " +
				"the Caddyfile.")
	}
	r.login.accepted = true
	return pass("%s", a)
}

// callAPI sends a request to the API with a token. The method is GET, because the
// check must change nothing in the API.
func (r *run) callAPI(token string) *answer {
	return r.get(r.target.String(), "Authorization", "Bearer "+token)
}
