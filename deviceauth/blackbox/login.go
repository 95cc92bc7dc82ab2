package blackbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/deviceclient"
)

// The whole flow, with a person. What is given is given back.

// loggedIn is what a login brought.
type loggedIn struct {
	tokens
	mu     sync.Mutex
	said   *answer  // of the token endpoint
	refs   []string // all tokens that were ever given, the refresh tokens first
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
		l.refs = append([]string{t.Refresh}, l.refs...)
	}
	l.refs = append(l.refs, t.Access)
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
	a := &answer{asked: "POST " + l.at, at: q.URL, status: response.StatusCode, header: response.Header, body: body}
	if t, ok := l.login.take(a); ok {
		l.login.tokens, l.login.said = t, a
	}
	return response, nil
}

func (r *run) loginFlow() finding {
	if r.cfg.Login == nil {
		return skip("asked with --login: it takes a person")
	}
	by := *r.http
	by.Transport = listener{r.http.Transport, r.login, r.server.Token}
	_, err := deviceclient.Login(r.ctx, deviceclient.Server{
		Issuer: r.server.Issuer, DeviceAuthorization: r.server.DeviceAuthorization, Token: r.server.Token, Revocation: r.server.Revocation,
	}, deviceclient.Options{
		HTTP: &by, ClientID: r.cfg.ClientID, ClientSecret: r.cfg.ClientSecret, Scopes: r.cfg.Scopes, Audience: r.cfg.Audience, Show: r.cfg.Login,
	})
	switch {
	case errors.Is(err, deviceclient.ErrDenied):
		return found("the request was denied").fails("If nobody said no: the person may not approve (`allow` in `upstream` and `client`), or was taken out since.")
	case errors.Is(err, deviceclient.ErrExpired):
		return found("nobody answered in time").fails("Open the address that was shown, and type the code.")
	case err != nil:
		return found("%s", quote(err.Error())).fails("Look at Caddy's log at this time: it says which event ended the login.")
	case r.login.said == nil:
		return found("the answer of %s was not heard", r.server.Token).fails("Look who else answers this path.")
	}
	return well("a person allowed it")
}

func (r *run) loginResponse() finding {
	l := r.login
	switch {
	case l.said.stores():
		return found("%s with Cache-Control %q, and tokens in it", l.said, quote(l.said.header.Get("Cache-Control"))).fails("The server sends no-store (RFC 6749 §5.1); look for `header Cache-Control` in the Caddyfile, or a CDN's rule that changes it.")
	case !strings.EqualFold(l.Type, "Bearer"):
		return found("token_type is %q", quote(l.Type)).fails("Guards want Bearer (RFC 6750); ours says so, look who changes the answer.")
	case l.Expires <= 0:
		return found("expires_in is %v", l.Expires).warns("Clients cannot know when to refresh. Set `lifetime access_token 15m`; it is the default.")
	}
	return well("tokens for %v s, of scope %q", l.Expires, quote(l.Scope))
}

// loginAPI calls the API as the device does.
func (r *run) loginAPI() finding {
	if r.own != nil {
		return skip("the URL is the server's own; give a guarded API's to have it called")
	}
	a := r.call(r.login.Access)
	challenge := quote(a.header.Get("WWW-Authenticate"))
	switch {
	case a.err != nil:
		return about(a.asked, trouble(a.err))
	case a.status == http.StatusForbidden && challengeParameter(challenge, "error") == "insufficient_scope":
		return found("%s, with the token just given: %s", a, challenge).fails("The guard wants scopes that this client was not given: add them to `scopes` in `client %s`, or ask for them by --scope.", r.cfg.ClientID)
	case a.status == http.StatusUnauthorized || a.status == http.StatusForbidden:
		return found("%s, with the token just given: %s", a, challenge).fails("The guard does not take this server's token, or the backend has its own idea. Compare `audience` of the guard and of `device_login`, the guard's `issuer`, and the clocks; a backend that wants credentials gets them by `header_up`.")
	case a.status >= 500:
		return found("%s, with the token just given", a).warns("The guard let it through, and the backend failed: look at its log, and at `reverse_proxy` in the Caddyfile.")
	}
	r.login.opened = true
	return well("%s", a)
}

func (r *run) call(token string) *answer {
	return r.get(r.target.String(), "Authorization", "Bearer "+token)
}

func (r *run) loginRefresh() finding {
	before := r.login.Refresh
	if before == "" {
		return skip("no refresh token was given; ask for one by --scope offline_access")
	}
	a := r.asClient(r.server.Token, "grant_type", "refresh_token", "refresh_token", before)
	after, ok := r.login.take(a)
	switch {
	case a.err != nil:
		return about(a.asked, trouble(a.err))
	case !ok:
		return found("%s, to the refresh token just given", a).fails("Devices lose their connection when the access token ends. With several gateways: all of them need the same `store redis`. Else Caddy's log says why.")
	case a.stores():
		return found("%s with Cache-Control %q, and tokens in it", a, quote(a.header.Get("Cache-Control"))).fails("The server sends no-store (RFC 6749 §5.1); look for a CDN's rule that changes it.")
	}
	r.login.Access = after.Access
	if after.Refresh == "" || after.Refresh == before {
		return found("the refresh token is not replaced by a refresh").warns("RFC 9700 §4.14.2 wants that for public clients. Ours does; look for rotation in the settings of this product.")
	}
	return well("a refresh gave a successor")
}

// revokeWait is how fast a device that was cut off is out; our promise.
const revokeWait = time.Second

func (r *run) loginRevoke() finding {
	if r.server.Revocation == "" {
		return found("the server cannot revoke: its metadata have no revocation_endpoint").warns("A lost device stays connected until its tokens end. Ours has one; with this product see its settings.")
	}
	for _, a := range r.revoke(r.ctx) {
		if a.err != nil || !a.ok() && a.refusal().Error != "unsupported_token_type" {
			return found("%s", a).fails("RFC 7009 §2.2 wants 200. Some token may still be good: look in Caddy's log, and end the grant by `caddy device-auth revoke --client %s`.", r.cfg.ClientID)
		}
	}
	if !r.login.opened {
		return well("the tokens were revoked")
	}
	start := time.Now()
	for {
		a := r.call(r.login.Access)
		took := time.Since(start)
		switch {
		case a.status == http.StatusUnauthorized:
			return well("the API refused the token %v after its revocation", took.Round(time.Millisecond))
		case r.ctx.Err() != nil || took > revokeWait:
			return found("%s, %v after the token was revoked", a, took.Round(time.Millisecond)).fails("A lost device would go on. A guard in another Caddy asks every `cache` (500ms is the default); gateways that share a `store redis` hear it at once. Other guards may look at nothing but the token's signature.")
		}
	}
}

// revoke gives back all that was given (RFC 7009), the refresh tokens first:
// with them goes what was made of them.
func (r *run) revoke(ctx context.Context) (all []*answer) {
	r.login.mu.Lock()
	refs := slices.Clone(r.login.refs)
	r.login.gone = true
	r.login.mu.Unlock()
	last := *r
	last.ctx = ctx
	for _, token := range refs {
		all = append(all, last.asClient(r.server.Revocation, "token", token))
	}
	return all
}

// giveBack is for a run that ends before it came to that, also by an
// interrupt.
func (r *run) giveBack() {
	r.login.mu.Lock()
	left := !r.login.gone && len(r.login.refs) > 0
	r.login.mu.Unlock()
	if !left || r.server.Revocation == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), timeout)
	defer cancel()
	r.revoke(ctx)
}
