// Package idptest is an OpenID provider for tests: it signs in the person that it is
// told to, and can be told to break the protocol in the ways that a relying
// party must notice. It has no pages and keeps nothing; only tests call it.
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

// The one relying party. Its secret has what Basic must escape (RFC 6749 §2.3.1).
const (
	ClientID     = "gateway"
	ClientSecret = "secret: of the gateway+"
)

// Behaviour says who signs in, and what is wrong with it. The zero value is a
// provider that follows the protocol and signs in the subject "1". Several
// deviations may be set together.
type Behaviour struct {
	Claims   map[string]any // of the ID token, over the right ones; sub is "1" unless it says otherwise
	Userinfo map[string]any // of the userinfo endpoint; nil: there is none

	Metadata map[string]any // over the right ones; nil members are left out

	PostOnly bool   // the client must prove itself in the body
	TellsIss bool   // announces the iss parameter of RFC 9207, and sends it
	HashesAt bool   // puts the right at_hash into the ID token
	Refresh  bool   // gives refresh tokens, each good for once; a spent one ends all of its sign-in (RFC 9700 §4.14.2)
	NoID     bool   // gives no ID token with a refresh
	Consent  bool   // gives refresh tokens only with prompt=consent
	Unasked  bool   // gives them without offline_access, a scope that it refuses
	Gone     string // a path that is at another address now, /moved before it; the metadata know
	NoSelect bool   // refuses prompt=select_account

	Disabled bool // the account is: its refresh tokens are worth nothing
	Stale    bool // never asks for the password again, whatever max_age says

	Down         bool   // every answer is 503
	KeysDown     bool   // the keys are
	UserinfoDown bool   // userinfo is
	Error        string // the callback's error
	Description  string // and its error_description
	Refuse       string // the token endpoint's error
	WrongIss     bool   // sends another provider's iss with the callback
	NoIss        bool   // sends none, announced or not
	NoToken      bool   // the token answer lacks the ID token
	Unsigned     bool   // alg none
	OtherKey     bool   // signed by a key that is not published
}

// A Provider is a running OpenID provider. Start starts one. It may be used by
// several goroutines; the behaviour at the time of a request counts.
type Provider struct {
	*httptest.Server

	mu       sync.Mutex
	key      *ecdsa.PrivateKey
	keyID    string
	behave   Behaviour
	codes    map[string]url.Values // code → authorization request
	requests map[string]int        // by path
	refresh  map[string]*string    // refresh token → the one that is good of its sign-in
}

// Start starts a provider. Close it. The address is http on a loopback host,
// which a relying party accepts for development.
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

// Behave changes what the provider does from now on. Codes and refresh tokens
// that were issued before stay as they are.
func (p *Provider) Behave(b Behaviour) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.behave = b
}

// RotateKey makes a new signing key, and forgets the old one. Tokens signed
// before do not verify any more once the relying party has fetched the keys.
func (p *Provider) RotateKey() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err) // no randomness: no test can go on
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.key, p.keyID = key, rand.Text()
}

// LogoutToken makes a logout token (OpenID Connect Back-Channel Logout 1.0
// §2.4) with claims over the right ones; those that are nil are left out.
// It is signed with the current key and good for a minute.
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

// Requests says how often a path was asked for. The count includes requests
// that failed, and those of the test itself.
func (p *Provider) Requests(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests[path]
}

// Visit plays the browser: it opens an authorization URL and returns the query
// with which the provider sends it back. No redirect is followed. An error
// names the status where the provider showed a page instead of redirecting.
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

// count counts, and answers for a provider that is down. Counting stands
// first, so that a provider that is down counts as well.
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
