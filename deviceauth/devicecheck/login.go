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

// The whole flow, with a person. What is given is given back.

// loggedIn is what a login brought.
type loggedIn struct {
	tokens
	mu     sync.Mutex
	said   *answer  // of the token endpoint
	given  []string // all tokens that were ever given, the refresh tokens first
	sub    string   // of the ID token
	gone   bool     // given back
	opened bool     // the API let the token in
}

// tokens is RFC 6749 §5.1.
type tokens struct {
	Access  string  `json:"access_token"`
	Type    string  `json:"token_type"`
	Expires float64 `json:"expires_in"`
	Refresh string  `json:"refresh_token"`
	ID      string  `json:"id_token"`
	Scope   string  `json:"scope"`
}

// take notes what a token endpoint gave.
func (l *loggedIn) take(a *answer) (t tokens, ok bool) {
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

// listener hears the token endpoint's answers, of which the library that logs
// in tells only a part; it also knows of tokens that an interrupt made it
// forget.
type listener struct {
	http.RoundTripper
	login *loggedIn
	at    string
}

func (l listener) RoundTrip(q *http.Request) (*http.Response, error) {
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
	if t, ok := l.login.take(a); ok {
		l.login.tokens, l.login.said = t, a
	}
	return response, nil
}

func (r *run) loginFlow() finding {
	if r.cfg.Login == nil {
		return skip("asked with --login: it takes a person")
	}
	_, resource, _ := r.asksFor()
	by := *r.http
	by.Transport = listener{RoundTripper: r.http.Transport, login: r.login, at: r.server.Token}
	_, err := deviceclient.Login(r.ctx, deviceclient.Server{
		Issuer: r.server.Issuer, DeviceAuthorization: r.server.DeviceAuthorization, Token: r.server.Token,
		Revocation: r.server.Revocation,
		API:        r.target.Scheme + "://" + r.target.Host, // a person is told where it is another's
		Resource:   resource,
	}, deviceclient.Options{
		HTTP: &by, ClientID: r.cfg.ClientID, ClientSecret: r.cfg.ClientSecret, Scopes: r.cfg.Scopes,
		Audience: r.cfg.Audience, Show: r.cfg.Login,
	})
	switch {
	case errors.Is(err, deviceclient.ErrDenied):
		return found("the request was denied").
			fails("If nobody said no: the person may not approve (`allow` in `upstream` and `client`), or was " +
				"taken out since.")
	case errors.Is(err, deviceclient.ErrExpired):
		return found("nobody answered in time").fails("Open the address that was shown, and type the code.")
	case err != nil:
		return found("%s", quote(err.Error())).
			fails("Look at Caddy's log at this time: it says which event ended the login.")
	case r.login.said == nil:
		return found("the answer of %s was not heard", quote(r.server.Token)).fails("Look who else answers this path.")
	}
	return well("a person allowed it")
}

func (r *run) loginResponse() finding {
	l := r.login
	switch {
	case l.said.stores():
		return found("%s with Cache-Control %q, and tokens in it", l.said, quote(l.said.header.Get("Cache-Control"))).
			fails("The server sends no-store (RFC 6749 §5.1); look for `header Cache-Control` in the Caddyfile, or a " +
				"CDN's rule that changes it.")
	case !strings.EqualFold(l.Type, "Bearer"):
		return found("token_type is %q", quote(l.Type)).
			fails("Guards want Bearer (RFC 6750); ours says so, look who changes the answer.")
	case l.Expires <= 0:
		return found("expires_in is %v", l.Expires).
			warns("Clients cannot know when to refresh. Set `lifetime access_token 15m`; it is the default.")
	}
	return well("tokens for %v s, of scope %q", l.Expires, quote(l.Scope))
}

// loginAPI calls the API as the device does.
func (r *run) loginAPI() finding {
	if r.own != nil {
		return skip("the URL is the server's own; give a guarded API's to have it called")
	}
	a := r.call(r.login.Access)
	challenge, _ := a.challenge()
	switch {
	case a.err != nil:
		return about(a.asked, trouble(a.err))
	case a.status == http.StatusForbidden &&
		deviceclient.ChallengeParameter(challenge, "error") == "insufficient_scope":
		return found("%s, with the token just given: %s", a, quote(challenge)).
			fails("The guard wants scopes that this client was not given: add them to `scopes` in `client %s`, or ask "+
				"for them by --scope.", r.cfg.ClientID)
	case a.status == http.StatusUnauthorized || a.status == http.StatusForbidden:
		return found("%s, with the token just given: %s", a, quote(challenge)).
			fails("The guard does not take this server's token, or the backend has its own idea. Compare `audience` " +
				"of the guard and of `device_login`, the guard's `issuer`, and the clocks; a backend that wants " +
				"credentials gets them by `header_up`.")
	case a.status >= 500:
		return found("%s, with the token just given", a).
			warns("The guard let it through, and the backend failed: look at its log, and at `reverse_proxy` in " +
				"the Caddyfile.")
	}
	r.login.opened = true
	return well("%s", a)
}

func (r *run) call(token string) *answer {
	return r.get(r.target.String(), "Authorization", "Bearer "+token)
}
