package idptest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"net/http"
	"net/url"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

// accessToken is valid at the userinfo endpoint only.
const accessToken = "access"

var b64 = base64.RawURLEncoding.EncodeToString

// token exchanges a code, once, for a client that proves that it began the flow.
func (p *Provider) token(w http.ResponseWriter, r *http.Request) {
	if r.FormValue("grant_type") == "refresh_token" {
		p.again(w, r)
		return
	}
	b, asked := p.now(), p.spend(r.FormValue("code"))
	challenge := sha256.Sum256([]byte(r.FormValue("code_verifier")))
	switch {
	case b.Refuse != "":
		reply(w, http.StatusBadRequest, map[string]any{"error": b.Refuse})
	case !isClient(r, b.PostOnly):
		reply(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client"})
	case asked == nil || r.FormValue("redirect_uri") != asked.Get("redirect_uri") ||
		asked.Get("code_challenge") != b64(challenge[:]):
		reply(w, http.StatusBadRequest, map[string]any{"error": "invalid_grant"})
	default:
		answer := map[string]any{"access_token": accessToken, "token_type": "Bearer", "expires_in": 60}
		if !b.NoToken {
			answer["id_token"] = p.sign(b, asked)
		}
		if b.refreshes(asked) {
			answer["refresh_token"] = p.rotate(new(string))
		}
		reply(w, http.StatusOK, answer)
	}
}

// again exchanges a refresh token, once.
func (p *Provider) again(w http.ResponseWriter, r *http.Request) {
	b := p.now()
	p.mu.Lock()
	token := r.FormValue("refresh_token")
	// A token that was used before ends its family, even if it is no longer the
	// current one.
	family := p.refresh[token]
	good := family != nil && *family == token && !b.Disabled
	if family != nil {
		*family = ""
	}
	p.mu.Unlock()
	switch {
	case !isClient(r, b.PostOnly):
		reply(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client"})
	case !good:
		reply(w, http.StatusBadRequest, map[string]any{"error": "invalid_grant"})
	default:
		answer := map[string]any{"access_token": accessToken, "token_type": "Bearer", "expires_in": 60,
			"refresh_token": p.rotate(family)}
		if !b.NoID {
			answer["id_token"] = p.sign(b, nil)
		}
		reply(w, http.StatusOK, answer)
	}
}

// rotate issues the next refresh token of a family. A family has the tokens of one
// sign-in; the pointer has the current one (RFC 9700 §4.14.2).
func (p *Provider) rotate(family *string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	*family = rand.Text()
	p.refresh[*family] = family
	return *family
}

// spend returns the authorization request of a code, the first time.
func (p *Provider) spend(code string) url.Values {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer delete(p.codes, code)
	return p.codes[code]
}

// isClient checks the client's credentials. With Basic both parts are escaped (RFC
// 6749 §2.3.1); only the secret has characters that need it.
func isClient(r *http.Request, postOnly bool) bool {
	id, secret, basic := r.BasicAuth()
	if !basic {
		return r.FormValue("client_id") == ClientID && r.FormValue("client_secret") == ClientSecret
	}
	secret, err := url.QueryUnescape(secret)
	return !postOnly && err == nil && id == ClientID && secret == ClientSecret
}

// sign returns the ID token of a sign-in, or of a refresh if asked is nil. It has
// auth_time if max_age requested that (OpenID Connect Core §2).
func (p *Provider) sign(b Behaviour, asked url.Values) string {
	now := time.Now()
	claims := jwt.MapClaims{"iss": p.URL, "sub": "1", "aud": ClientID, "iat": now.Unix(),
		"exp": now.Add(time.Minute).Unix()}
	if asked != nil {
		claims["nonce"] = asked.Get("nonce")
	}
	switch {
	case b.Stale:
		claims["auth_time"] = now.Add(-time.Hour).Unix()
	case asked.Has("max_age"):
		claims["auth_time"] = now.Unix()
	}
	if b.HashesAt { // OpenID Connect Core §3.1.3.6
		hash := sha256.Sum256([]byte(accessToken))
		claims["at_hash"] = b64(hash[:len(hash)/2])
	}
	maps.Copy(claims, b.Claims)
	return p.seal(b, claims)
}

// seal returns a token with these claims, which may be any JSON, including claims
// that no token should have.
func (p *Provider) seal(b Behaviour, claims jwt.MapClaims) string {
	method, key, keyID := p.signer(b)
	token := jwt.NewWithClaims(method, claims)
	token.Header["kid"] = keyID
	text, err := token.SignedString(key)
	if err != nil {
		panic(err) // claims that cannot be JSON: a mistake in the test
	}
	return text
}

// signer returns algorithm, key and kid. With OtherKey the kid is that of the
// published key, so that only the signature is wrong.
func (p *Provider) signer(b Behaviour) (method jwt.SigningMethod, key any, keyID string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case b.Unsigned:
		return jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, p.keyID
	case b.OtherKey:
		other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic(err) // no randomness: the test cannot go on
		}
		return jwt.SigningMethodES256, other, p.keyID
	}
	return jwt.SigningMethodES256, p.key, p.keyID
}

// keys publishes only the current key; the relying party has to fetch the keys again
// after a rotation.
func (p *Provider) keys(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	reply(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		{Key: p.key.Public(), Use: "sig", Algorithm: "ES256", KeyID: p.keyID},
	}})
}
