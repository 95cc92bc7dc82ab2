package devicecheck

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

// The checks in this file look at the claims of the tokens (RFC 9068, OpenID Connect
// Core §2).

var errNoKey = errors.New("no published key has the token's kid")

// verify checks a token's signature with the published keys. The allowed algorithms
// are asymmetric, so a published key is never used as a shared secret (RFC 8725
// §3.1). The library does not validate the claims, because checkIssuerAndTimes
// reports more precisely what is wrong with them.
func (r *run) verify(token string) (header map[string]any, claims jwt.MapClaims, err error) {
	claims = jwt.MapClaims{}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"ES256", "ES384", "ES512", "EdDSA", "RS256", "RS384", "RS512",
		"PS256", "PS384", "PS512"}), jwt.WithoutClaimsValidation())
	parsed, err := parser.ParseWithClaims(token, claims, func(t *jwt.Token) (any, error) {
		id, _ := t.Header["kid"].(string)
		return r.key(id)
	})
	if parsed != nil {
		header = parsed.Header
	}
	return header, claims, err
}

// key returns the published key with the given ID. go-jose converts the key, and
// refuses points that are not on the curve.
func (r *run) key(id string) (any, error) {
	for _, k := range r.keys {
		if k.text("kid") != id {
			continue
		}
		text, _ := json.Marshal(k) // cannot fail: k was decoded from JSON
		var key jose.JSONWebKey
		if err := key.UnmarshalJSON(text); err != nil {
			return nil, err
		}
		return key.Key, nil
	}
	return nil, errNoKey
}

// isJWT reports whether a token is a JWT, and returns its algorithm. It does not look
// at the signature. A token that is not a JWT is opaque to clients, which RFC 6749
// §1.4 permits.
func isJWT(token string) (algorithm string, ok bool) {
	t, _, err := jwt.NewParser().ParseUnverified(token, jwt.MapClaims{})
	if t == nil || err != nil {
		return "", false
	}
	algorithm, _ = t.Header["alg"].(string)
	return algorithm, true
}

// loginToken judges the access token. It looks for the claims that RFC 9068 §2.2
// requires. A missing one is a warning: access tokens of other formats are legal, but
// guards of other products refuse them.
func (r *run) loginToken() finding {
	if _, ok := isJWT(r.login.Access); !ok {
		return pass("the access token is opaque")
	}
	if r.server.Keys == "" {
		return pass("an access token that only the server can read")
	}
	header, claims, err := r.verify(r.login.Access)
	if err != nil {
		return found("the access token does not verify with the keys at %s: %s", quote(r.server.Keys),
			quote(err.Error())).
			fail("With several gateways: all of them need the same `store redis`, where the keys are. Else a cache " +
				"shows old keys: it may keep them for the five minutes that the server says.")
	}
	if f := r.checkIssuerAndTimes("access token", claims); f.status != Pass {
		return f
	}
	var missing []string
	for _, name := range []string{"aud", "sub", "client_id", "jti", "iat"} {
		if claims[name] == nil {
			missing = append(missing, name)
		}
	}
	kind, _ := header["typ"].(string)
	if kind = strings.TrimPrefix(strings.ToLower(kind), "application/"); kind != "at+jwt" || len(missing) > 0 {
		return found("the access token is of the type %q, and lacks %q: not as RFC 9068 §2 says", quote(kind), missing).
			warn("Guards elsewhere that go by RFC 9068 refuse it. Ours are at+jwt with all claims; with other " +
				"products see their settings for access tokens.")
	}
	return pass("an at+jwt, signed with a published key")
}

// checkIssuerAndTimes judges the claims that both kinds of tokens have. It tolerates
// differences up to clockFail, as guards do, since clock has already reported the
// difference.
func (r *run) checkIssuerAndTimes(what string, claims jwt.MapClaims) finding {
	expires, expiresErr := claims.GetExpirationTime()
	issued, issuedErr := claims.GetIssuedAt()
	issuer, _ := claims.GetIssuer()
	switch {
	case issuer != r.server.Issuer:
		return found("the %s is issued by %s, and the metadata say %s", what, quote(issuer), quote(r.server.Issuer)).
			fail("Guards refuse it. With several gateways: let all have one `issuer`, to the letter.")
	case expiresErr != nil || expires == nil || issuedErr != nil:
		return found("the %s has no good exp and iat", what).
			fail("Guards refuse it (RFC 9068 §2.2). Ours have both; find out what issues the tokens.")
	case time.Now().After(expires.Add(clockFail)) || issued != nil && time.Now().Before(issued.Add(-clockFail)):
		return found("the %s counts from %v to %v, and here it is %v", what, issued, expires.UTC(),
			time.Now().UTC().Round(time.Second)).fail("Set the clocks by NTP, here and at the server.")
	}
	return pass("")
}

// loginID judges the ID token. It skips the signature of HS256, whose key is the
// client's secret, which only the client and the server have.
func (r *run) loginID() finding {
	granted := strings.Fields(r.login.Scope)
	if len(granted) == 0 { // RFC 6749 §5.1: without scope, the granted ones are those requested
		granted = r.cfg.Scopes
	}
	asked := slices.Contains(granted, "openid")
	switch algorithm, ok := isJWT(r.login.ID); {
	case r.login.ID == "" && !asked:
		return skip("no ID token was given: the scope has no openid")
	case r.login.ID == "":
		return found("the scope has openid, and no ID token was given").
			fail("OpenID Connect Core §3.1.3.3 wants one. Ours gives it; find out what changes the answer.")
	case ok && strings.HasPrefix(algorithm, "HS"):
		return skip("the ID token is signed with the client's secret")
	}
	_, claims, err := r.verify(r.login.ID)
	if err != nil {
		return found("the ID token does not verify with the keys at %s: %s", quote(r.server.Keys), quote(err.Error())).
			fail("With several gateways: all of them need the same `store redis`, where the keys are.")
	}
	if f := r.checkIssuerAndTimes("ID token", claims); f.status != Pass {
		return f
	}
	audience, _ := claims.GetAudience()
	if r.login.sub, _ = claims.GetSubject(); r.login.sub == "" || !slices.Contains(audience, r.cfg.ClientID) {
		return found("the ID token is about %q and for %s", quote(r.login.sub), quote(strings.Join(audience, ", "))).
			fail("It has to name a person and the client (OpenID Connect Core §2). Ours does; find out what " +
				"issues the tokens.")
	}
	return pass("an ID token about %s", quote(r.login.sub))
}

// loginUserinfo compares the userinfo response with the ID token. sub must be equal
// to that of the ID token before anything in the response is used (OpenID Connect
// Core §5.3.2); a cached response about another person would differ exactly there.
func (r *run) loginUserinfo() finding {
	if r.server.Userinfo == "" {
		return skip("the server has no userinfo endpoint")
	}
	if !r.atIssuer(r.server.Userinfo) {
		return found("the userinfo_endpoint is %s, on another origin than the issuer; the token is not sent there",
			quote(r.server.Userinfo)).warn(
			"A server may do that; ours does not. If it is ours, a proxy rewrites its answers: take that out.")
	}
	a := r.get(r.server.Userinfo, "Authorization", "Bearer "+r.login.Access)
	var claims struct {
		Subject string `json:"sub"`
	}
	switch {
	case a.err != nil:
		return about(a.asked, explain(a.err))
	case a.status != http.StatusOK || json.Unmarshal(a.body, &claims) != nil:
		return found("%s, with the token just given", a).
			fail("Let nothing in the Caddyfile, and no proxy, take this path or the Authorization header.")
	case claims.Subject != r.login.sub:
		return found("userinfo is about %q, the ID token about %q", quote(claims.Subject), quote(r.login.sub)).
			fail("Clients must not use it then (OpenID Connect Core §5.3.2). A cache before the server may keep " +
				"answers: it must not where there is an Authorization header.")
	}
	return pass("userinfo is about the same person")
}
