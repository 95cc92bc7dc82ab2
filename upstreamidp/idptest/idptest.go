// Package idptest is an OpenID provider for tests: it signs in whoever it is
// told to, and can be told to break the protocol in the ways that a relying
// party must notice. It has no pages and no memory, and serves nobody else.
package idptest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// A Provider is a running OpenID provider. Start starts one.
type Provider struct {
	*httptest.Server

	mu       sync.Mutex
	key      *ecdsa.PrivateKey
	keyID    string
	behave   Behaviour
	codes    map[string]url.Values // code → authorization request
	requests map[string]int        // by path
}

// Behaviour says who signs in, and what is wrong with it.
type Behaviour struct {
	Claims   map[string]any // of the ID token; sub is "1" unless it says otherwise
	Userinfo map[string]any // of the userinfo endpoint; nil: there is none

	Down     bool   // every answer is 503
	Error    string // the callback's error
	NoToken  bool   // the token answer lacks the ID token
	Unsigned bool   // alg none
	OtherKey bool   // signed by a key that is not published
	TellsIss bool   // announces the iss parameter of RFC 9207, and sends it
	WrongIss bool   // … but another one's
	Refuse   string // the token endpoint's error
}

// Client is the one relying party.
const (
	ClientID     = "gateway"
	ClientSecret = "secret of the gateway"
)

// Start starts a provider. Close it.
func Start() *Provider {
	p := &Provider{codes: map[string]url.Values{}, requests: map[string]int{}}
	p.RotateKey()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", p.discovery)
	mux.HandleFunc("GET /authorize", p.authorize)
	mux.HandleFunc("POST /token", p.token)
	mux.HandleFunc("GET /keys", p.keys)
	mux.HandleFunc("GET /userinfo", p.userinfo)
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.requests[r.URL.Path]++
		down := p.behave.Down
		p.mu.Unlock()
		if down {
			http.Error(w, "down", http.StatusServiceUnavailable)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	return p
}

// Behave changes what the provider does from now on.
func (p *Provider) Behave(b Behaviour) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.behave = b
}

// RotateKey makes a new signing key, and forgets the old one.
func (p *Provider) RotateKey() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err) // no randomness: no test can go on
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.key, p.keyID = key, rand.Text()
}

// Requests says how often a path was asked for.
func (p *Provider) Requests(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests[path]
}

// Visit plays the browser: it opens an authorization URL and returns the query
// with which the provider sends it back.
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

func (p *Provider) discovery(w http.ResponseWriter, _ *http.Request) {
	b := p.now()
	document := map[string]any{
		"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys",
		"id_token_signing_alg_values_supported":          []string{"ES256"},
		"authorization_response_iss_parameter_supported": b.TellsIss,
	}
	if b.Userinfo != nil {
		document["userinfo_endpoint"] = p.URL + "/userinfo"
	}
	reply(w, http.StatusOK, document)
}

// authorize signs in at once.
func (p *Provider) authorize(w http.ResponseWriter, r *http.Request) {
	b, asked := p.now(), r.URL.Query()
	back := url.Values{"state": asked["state"]}
	if b.TellsIss {
		back.Set("iss", map[bool]string{false: p.URL, true: "https://evil.example"}[b.WrongIss])
	}
	if b.Error != "" {
		back.Set("error", b.Error)
	} else {
		code := rand.Text()
		p.mu.Lock()
		p.codes[code] = asked
		p.mu.Unlock()
		back.Set("code", code)
	}
	http.Redirect(w, r, asked.Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
}

// token exchanges a code, once, for who proves to have begun.
func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
	b := p.now()
	id, secret, _ := r.BasicAuth()
	secret, _ = url.QueryUnescape(secret)
	p.mu.Lock()
	asked, known := p.codes[r.FormValue("code")]
	delete(p.codes, r.FormValue("code"))
	p.mu.Unlock()
	challenge := sha256.Sum256([]byte(r.FormValue("code_verifier")))
	switch {
	case b.Refuse != "":
		reply(w, http.StatusBadRequest, map[string]any{"error": b.Refuse})
	case id != ClientID || secret != ClientSecret:
		reply(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client"})
	case !known || r.FormValue("redirect_uri") != asked.Get("redirect_uri") || asked.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(challenge[:]):
		reply(w, http.StatusBadRequest, map[string]any{"error": "invalid_grant"})
	default:
		answer := map[string]any{"access_token": "access", "token_type": "Bearer", "expires_in": 60}
		if !b.NoToken {
			answer["id_token"] = p.sign(b, asked.Get("nonce"))
		}
		reply(w, http.StatusOK, answer)
	}
}

func (p *Provider) sign(b Behaviour, nonce string) string {
	claims := jwt.MapClaims{"iss": p.URL, "sub": "1", "aud": ClientID, "nonce": nonce, "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix()}
	maps.Copy(claims, b.Claims)
	p.mu.Lock()
	defer p.mu.Unlock()
	var method jwt.SigningMethod = jwt.SigningMethodES256
	var key any = p.key
	switch {
	case b.Unsigned:
		method, key = jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType
	case b.OtherKey:
		key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	token := jwt.NewWithClaims(method, claims)
	token.Header["kid"] = p.keyID
	text, err := token.SignedString(key)
	if err != nil {
		panic(err) // claims that no JSON can say: a mistake in the test
	}
	return text
}

func (p *Provider) keys(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	point, err := p.key.PublicKey.Bytes()
	if err != nil {
		panic(err) // the key was made above
	}
	b64 := base64.RawURLEncoding.EncodeToString
	reply(w, http.StatusOK, map[string]any{"keys": []any{map[string]any{
		"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": p.keyID, "x": b64(point[1:33]), "y": b64(point[33:]),
	}}})
}

func (p *Provider) userinfo(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer access" {
		reply(w, http.StatusUnauthorized, map[string]any{"error": "invalid_token"})
		return
	}
	info := map[string]any{"sub": "1"}
	maps.Copy(info, p.now().Userinfo)
	reply(w, http.StatusOK, info)
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}
