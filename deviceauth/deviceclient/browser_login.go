package deviceclient

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"golang.org/x/oauth2"

	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// browserLifetime limits a login in the browser, because the server does not say how
// long it waits.
const browserLifetime = 10 * time.Minute

// errNoBrowserLogin is the reason why the device flow is used instead.
type errNoBrowserLogin struct{ reason string }

func (e errNoBrowserLogin) Error() string { return "no login in the browser: " + e.reason }

// A callback is the authorization response (RFC 6749 §4.1.2).
type callback struct {
	code string
	err  error
}

// A browserLogin is an authorization code login with PKCE in a browser of this
// computer (RFC 8252 §7.3). Its listener accepts one response, which must have the
// state of this login. The redirect URI is a loopback address with a free port; the
// server must accept any port (RFC 8252 §7.3).
type browserLogin struct {
	server   Server
	config   *oauth2.Config
	state    string
	verifier string
	host     string // of the listener, as in the Host header
	answers  chan callback
	outcome  chan error // of the exchange, for the closing page
	once     sync.Once
}

// logInByBrowser opens the browser of this computer, and exchanges the code from the
// callback. It returns an errNoBrowserLogin if the device flow can be used instead.
// It listens on 127.0.0.1 and not on localhost, which could be another address (RFC
// 8252 §8.3). PKCE is required, since other programs of this machine may receive the
// code (§8.1).
func (o Options) logInByBrowser(ctx context.Context, s Server) (token *oauth2.Token, err error) {
	if s.Authorization == "" || !slices.Contains(s.ChallengeMethods, "S256") {
		return nil, errNoBrowserLogin{reason: "the server does not offer one with PKCE"}
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errNoBrowserLogin{reason: err.Error()}
	}
	b := &browserLogin{
		server: s, config: o.config(s), state: oauth2.GenerateVerifier(), verifier: oauth2.GenerateVerifier(),
		host: listener.Addr().String(), answers: make(chan callback, 1), outcome: make(chan error, 1),
	}
	b.config.RedirectURL = "http://" + b.host + "/callback"
	b.config.Endpoint.AuthURL = s.Authorization
	address := b.config.AuthCodeURL(b.state, o.authorizationOptions(s, b.verifier)...)
	if err := o.checkAuthorization(ctx, address); err != nil {
		listener.Close()
		return nil, err
	}
	server := &http.Server{Handler: b, ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(listener)
	defer b.close(server)
	if err := o.Browse(address); err != nil {
		return nil, errNoBrowserLogin{reason: err.Error()}
	}
	o.Show(Prompt{Address: address, Warning: s.warning(), Expires: time.Now().Add(browserLifetime)})
	token, err = b.wait(o.posting(ctx), o.resourceOptions(s)...)
	b.outcome <- err
	return token, err
}

// authorizationOptions returns the additional parameters of the authorization
// request.
func (o Options) authorizationOptions(s Server, verifier string) []oauth2.AuthCodeOption {
	options := append(o.resourceOptions(s), oauth2.S256ChallengeOption(verifier))
	if o.DeviceName != "" {
		options = append(options, oauth2.SetAuthURLParam("device_name", o.DeviceName))
	}
	return options
}

// checkAuthorization sends the authorization request before the browser does: if the
// server does not know the client's redirect URI it shows a page, and there would
// never be a callback. The server starts a sign-in for this request, which expires.
func (o Options) checkAuthorization(ctx context.Context, address string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	answer, err := posting(o.HTTP).Do(r)
	if err != nil {
		return err
	}
	io.Copy(io.Discard, io.LimitReader(answer.Body, maxMetadata))
	answer.Body.Close()
	if answer.StatusCode/100 == 4 {
		return errNoBrowserLogin{reason: fmt.Sprintf(
			"the server answers %s; the client %s needs the redirect URI http://127.0.0.1/callback there",
			text.Plain(answer.Status), o.ClientID)}
	}
	return nil
}

// wait waits for the callback, and exchanges the code. The library adds the client's
// credentials to that request.
func (b *browserLogin) wait(ctx context.Context, options ...oauth2.AuthCodeOption) (*oauth2.Token, error) {
	waiting, cancel := context.WithTimeoutCause(ctx, browserLifetime, ErrExpired)
	defer cancel()
	select {
	case <-waiting.Done():
		return nil, context.Cause(waiting)
	case answer := <-b.answers:
		if answer.err != nil {
			return nil, answer.err
		}
		return b.exchange(ctx, answer.code, append(options, oauth2.VerifierOption(b.verifier))...)
	}
}

// exchangeTime is how long a server that responds 503 is asked again: a code is valid for
// a minute or so (RFC 6749 §4.1.2).
const exchangeTime = 30 * time.Second

// exchange exchanges the code. It repeats the request only if the server responds that it
// cannot decide now. After a lost response the code may have been used already, and using
// it twice could end the grant (RFC 6749 §4.1.2).
func (b *browserLogin) exchange(
	ctx context.Context, code string, options ...oauth2.AuthCodeOption,
) (*oauth2.Token, error) {
	for began := time.Now(); ; {
		token, err := b.config.Exchange(ctx, code, options...)
		if err == nil {
			return token, nil
		}
		var refusal *oauth2.RetrieveError
		after, _ := retryLater(err)
		after = max(after, time.Second)
		if !errors.As(err, &refusal) || refusal.Response.StatusCode != http.StatusServiceUnavailable ||
			time.Since(began)+after > exchangeTime {
			return nil, plain(err)
		}
		select {
		case <-time.After(after):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// close waits until the closing page is sent, and then closes the listener.
func (b *browserLogin) close(s *http.Server) {
	b.once.Do(func() {}) // no response is accepted from now on
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	s.Shutdown(ctx)
	s.Close()
}

// ServeHTTP accepts the authorization response. It ignores a request without this
// login's state, and a request for another host name, with which a page elsewhere
// could reach the listener.
func (b *browserLogin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Connection", "close")
	q := r.URL.Query()
	ours := r.Method == http.MethodGet && r.Host == b.host && r.URL.Path == "/callback" &&
		subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(b.state)) == 1
	taken := false
	if ours {
		b.once.Do(func() {
			taken = true
			b.answers <- b.read(q)
		})
	}
	if !taken {
		closingPage(w, http.StatusNotFound, "Nothing waits here", "No login of this computer waits for this answer.")
		return
	}
	select {
	case <-r.Context().Done():
	case err := <-b.outcome:
		if err != nil {
			closingPage(w, http.StatusOK, "Not signed in", "The terminal says why. You can close this page.")
			return
		}
		closingPage(w, http.StatusOK, "Signed in", "The terminal goes on. You can close this page.")
	}
}

// read reads the authorization response, which must be from the server of this login
// (RFC 9207 §2.4).
func (b *browserLogin) read(q url.Values) callback {
	issuer := q.Get("iss")
	switch {
	case issuer == "" && b.server.NamesItself, issuer != "" && issuer != b.server.Issuer:
		return callback{err: fmt.Errorf("the answer names the issuer %q, and not %q: it may be another server's",
			text.Plain(issuer), b.server.Issuer)}
	case q.Get("error") == "access_denied":
		return callback{err: ErrDenied}
	case q.Get("error") != "":
		return callback{err: fmt.Errorf("%s: %s", text.Plain(q.Get("error")), text.Plain(q.Get("error_description")))}
	case q.Get("code") == "":
		return callback{err: errors.New("the answer has neither a code nor an error")}
	}
	return callback{code: q.Get("code")}
}

// closingPage writes the last page in the browser. It has no script and loads
// nothing.
func closingPage(w http.ResponseWriter, status int, title, text string) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	fmt.Fprintf(w, `<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>%[1]s</title>
<h1>%[1]s</h1><p>%[2]s</p></html>
`, title, text)
}
