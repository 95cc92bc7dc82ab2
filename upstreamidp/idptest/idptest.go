// Package idptest is an OpenID provider for tests. It signs in the configured person,
// and can be configured to violate the protocol in the ways that a relying party must
// notice. It has no pages and stores nothing on disk; only tests use it.
package idptest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// These are the credentials of the only relying party. Its secret has characters that
// Basic must escape (RFC 6749 §2.3.1).
const (
	ClientID     = "gateway"
	ClientSecret = "secret: of the gateway+"
)

// A Behaviour says who signs in, and how the provider violates the protocol. The zero
// value is a provider that follows the protocol and signs in the subject "1". Several
// deviations may be combined.
type Behaviour struct {
	Claims   map[string]any // of the ID token, replacing the right ones; sub is "1" by default
	Userinfo map[string]any // of the userinfo endpoint; nil: there is no such endpoint

	Metadata map[string]any // replaces the right members; nil members are left out

	PostOnly bool   // the client must send its secret in the body
	TellsIss bool   // announces the iss parameter of RFC 9207, and sends it
	HashesAt bool   // puts the right at_hash into the ID token
	Refresh  bool   // issues single-use refresh tokens; using one twice ends the sign-in (RFC 9700 §4.14.2)
	NoID     bool   // a refresh returns no ID token
	Consent  bool   // issues refresh tokens only with prompt=consent
	Unasked  bool   // issues refresh tokens without offline_access, and refuses that scope
	Gone     string // a path that has moved to another one, with the prefix /moved, as the metadata say
	NoSelect bool   // refuses prompt=select_account

	Disabled bool // the account is disabled: its refresh tokens are refused
	Stale    bool // never authenticates again, whatever max_age says

	Down         bool   // every response is 503
	KeysDown     bool   // responses of the key set are 503
	UserinfoDown bool   // responses of userinfo are 503
	Error        string // error of the callback
	Description  string // error_description of the callback
	Refuse       string // error of the token endpoint
	WrongIss     bool   // sends another provider's iss with the callback
	NoIss        bool   // sends no iss, even if the metadata announce it
	NoToken      bool   // the token response lacks the ID token
	Unsigned     bool   // alg none
	OtherKey     bool   // signs with a key that is not published
}

// A Provider is a running OpenID provider, see Start. It is safe for concurrent use;
// a request is answered by the behaviour at that time.
type Provider struct {
	*httptest.Server

	mu       sync.Mutex
	key      *ecdsa.PrivateKey
	keyID    string
	behave   Behaviour
	codes    map[string]url.Values // code → authorization request
	requests map[string]int        // by path
	refresh  map[string]*string    // refresh token → the current token of the same sign-in
}

// Start starts a provider, which the caller must close. Its URL is http on a loopback
// host, which a relying party accepts for development.
func Start() *Provider {
	p := &Provider{codes: map[string]url.Values{}, requests: map[string]int{}, refresh: map[string]*string{}}
	p.RotateKey()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", p.discovery)
	mux.HandleFunc("GET /authorize", p.authorize)
	mux.HandleFunc("POST /token", p.token)
	mux.HandleFunc("GET /keys", p.keys)
	mux.HandleFunc("GET /userinfo", p.userinfo)
	mux.Handle("/moved/", http.StripPrefix("/moved", mux))
	p.Server = httptest.NewServer(p.count(mux))
	return p
}

// Behave changes the behaviour from now on. Codes and refresh tokens that were issued
// before stay valid.
func (p *Provider) Behave(b Behaviour) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.behave = b
}

// RotateKey replaces the signing key. Tokens signed with the old one no longer verify
// after the relying party has fetched the keys again.
func (p *Provider) RotateKey() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err) // no randomness: the test cannot go on
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.key, p.keyID = key, rand.Text()
}

// LogoutToken returns a logout token (OpenID Connect Back-Channel Logout 1.0 §2.4).
// claims replace the right ones; nil claims are left out. The token is signed with
// the current key and valid for a minute.
func (p *Provider) LogoutToken(claims map[string]any) string {
	now := time.Now()
	all := jwt.MapClaims{
		"iss": p.URL, "aud": ClientID, "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(), "jti": rand.Text(),
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	}
	maps.Copy(all, claims)
	maps.DeleteFunc(all, func(_ string, value any) bool { return value == nil })
	return p.seal(p.now(), all)
}

// Requests returns the number of requests for a path, including failed ones and those
// of the test itself.
func (p *Provider) Requests(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests[path]
}

// Visit acts as the browser: it opens an authorization URL and returns the query of
// the redirect back to the relying party, which it does not follow. If the provider
// shows a page instead, the error has its status.
func (p *Provider) Visit(address string) (url.Values, error) {
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Get(address)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	to, err := answer.Location()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", answer.Status, err)
	}
	return to.Query(), nil
}

func (p *Provider) now() Behaviour {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.behave
}

// count counts requests, and answers 503 if the provider is down. It counts first, so
// that requests to a provider that is down are counted, too.
func (p *Provider) count(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.requests[r.URL.Path]++
		b := p.behave
		p.mu.Unlock()
		if b.Down || b.KeysDown && r.URL.Path == "/keys" || b.UserinfoDown && r.URL.Path == "/userinfo" {
			http.Error(w, "down", http.StatusServiceUnavailable)
			return
		}
		if b.Gone != "" && b.Gone == r.URL.Path {
			http.NotFound(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}
