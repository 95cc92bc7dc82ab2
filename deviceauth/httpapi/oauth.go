package httpapi

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// The grant types of RFC 8628 §3.4 and RFC 6749 §6.
const (
	grantDeviceCode   = "urn:ietf:params:oauth:grant-type:device_code"
	grantRefreshToken = "refresh_token"
)

// authorizationAnswer is RFC 8628 §3.2, with what dialects add.
type authorizationAnswer struct {
	DeviceCode string `json:"device_code"`
	UserCode   string `json:"user_code"`
	URI        string `json:"verification_uri"`
	Complete   string `json:"verification_uri_complete,omitempty"` // unless the code has to be typed
	ExpiresIn  int    `json:"expires_in"`
	Interval   int    `json:"interval"`

	URL         string        `json:"verification_url,omitempty"` // google: from a draft of the RFC
	Message     string        `json:"message,omitempty"`          // entra: for people
	RedirectURI string        `json:"redirect_uri,omitempty"`     // codeontime: the verification page
	Token       *tokenRequest `json:"token,omitempty"`            // codeontime
}

// deviceAuthorization is RFC 8628 §3.1.
func (s *vendorDialect) deviceAuthorization(r *http.Request) (*answer, error) {
	if s.crossSite(r) {
		return nil, forbidden(errCrossSite)
	}
	p, client, err := s.request(r)
	if err != nil {
		return nil, err
	}
	scope, resource := s.scope(p, client.ClientID)
	a, err := s.cfg.Engine.Authorize(r.Context(), deviceauth.AuthorizeRequest{
		Client: client, Scope: scope, Audience: slices.Concat(p["audience"], p["resource"], resource), From: s.cfg.ClientIP(r),
		Place: s.cfg.Place(r), Challenge: p.get("code_challenge"), ChallengeMethod: p.get("code_challenge_method"),
		Label: p.get("device_name"),
	})
	if err != nil {
		return nil, forbidden(err)
	}
	page := s.origin + s.cfg.Paths.Device
	said := &authorizationAnswer{
		DeviceCode: a.DeviceCode.Reveal(), UserCode: a.UserCode, URI: page,
		ExpiresIn: wholeSeconds(a.ExpiresIn), Interval: wholeSeconds(a.Interval),
	}
	if a.Linkable {
		said.Complete = page + "?user_code=" + url.QueryEscape(a.UserCode)
	}
	if s.members != nil {
		s.members(s, client, said)
	}
	return jsonAnswer(http.StatusOK, said), nil
}

var errCrossSite = deviceauth.NewError("access_denied", "a page of another site may not ask for a code")

// crossSite reports whether a browser sends the request for a page of another
// site, which no client names as its origin. A form is posted across sites
// without a preflight, so any page could have its visitors' browsers ask for
// codes, at the cost of their addresses' bounds (RFC 8628 §3.1 wants no proof of
// a public client). Sec-Fetch-Site is the browser's own word (W3C Fetch
// Metadata §2.3); by Origin are known browsers that do not send it, a neighbouring
// host, and a host of somebody else's that has our address. "null" is nobody's
// origin (RFC 6454 §7.3).
func (h *Handler) crossSite(r *http.Request) bool {
	origin, site := r.Header.Get("Origin"), r.Header.Get("Sec-Fetch-Site")
	if h.origins[origin] {
		return false
	}
	return site == "cross-site" || origin != "" && origin != h.origin
}

// wholeSeconds rounds up, so that who keeps to it is never early.
func wholeSeconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// token is RFC 6749 §3.2.
func (s *vendorDialect) token(r *http.Request) (*answer, error) {
	p, client, err := s.request(r)
	if err != nil {
		return nil, err
	}
	var tokens *deviceauth.Tokens
	switch s.grantType(p) {
	case "":
		err = missing(r, "invalid_request", "grant_type")
	case grantDeviceCode:
		tokens, err = s.redeem(r, p, client)
	case grantRefreshToken:
		tokens, err = s.refresh(r, p, client)
	default:
		err = deviceauth.NewError("unsupported_grant_type", "want "+grantDeviceCode+" or "+grantRefreshToken)
	}
	if err != nil {
		return nil, err
	}
	return tokenAnswer(tokens), nil
}

func (s *vendorDialect) redeem(r *http.Request, p params, client deviceauth.Credentials) (*deviceauth.Tokens, error) {
	code := s.deviceCode(p)
	if code == "" {
		return nil, missing(r, "invalid_request", "device_code")
	}
	tokens, err := s.cfg.Engine.Redeem(r.Context(), deviceauth.RedeemRequest{
		Client: client, DeviceCode: code, Verifier: p.get("code_verifier"), Resource: p["resource"], Nulls: s.nulls,
	})
	if err != nil {
		return nil, aboutCode{err}
	}
	return tokens, nil
}

func (s *vendorDialect) refresh(r *http.Request, p params, client deviceauth.Credentials) (*deviceauth.Tokens, error) {
	token := p.get("refresh_token")
	if token == "" {
		return nil, missing(r, "invalid_request", "refresh_token")
	}
	scope, resource := s.scope(p, client.ClientID)
	if s.scoping != nil && strings.Contains(p.get("scope"), "/"+entraDefault) {
		scope = "" // all that was granted, which the client may have more than by now
	}
	return s.cfg.Engine.Refresh(r.Context(), deviceauth.RefreshRequest{
		Client: client, RefreshToken: token, Scope: scope, Resource: append(resource, p["resource"]...), Nulls: s.nulls,
	})
}

// tokenAnswer is RFC 6749 §5.1.
func tokenAnswer(t *deviceauth.Tokens) *answer {
	return jsonAnswer(http.StatusOK, struct {
		AccessToken  string           `json:"access_token"`
		TokenType    string           `json:"token_type"`
		ExpiresIn    int              `json:"expires_in"`
		Scope        deviceauth.Scope `json:"scope"`
		RefreshToken string           `json:"refresh_token,omitempty"`
		IDToken      string           `json:"id_token,omitempty"`
	}{t.AccessToken.Reveal(), "Bearer", int(t.ExpiresIn / time.Second), t.Scope, t.RefreshToken.Reveal(), t.IDToken.Reveal()})
}

// revoke is RFC 7009 §2.
func (s *vendorDialect) revoke(r *http.Request) (*answer, error) {
	p, client, err := s.request(r)
	if err != nil {
		return nil, err
	}
	if p.get("token") == "" {
		return nil, missing(r, "invalid_request", "token")
	}
	if err := s.cfg.Engine.Revoke(r.Context(), deviceauth.RevokeRequest{Client: client, Token: p.get("token")}); err != nil {
		return nil, err
	}
	return newAnswer(http.StatusOK, "", nil).set("Cache-Control", "no-store"), nil
}

// isForbidden marks access_denied at the device authorization endpoint: there
// it is about the client's address, and 403.
type isForbidden struct{ error }

func (f isForbidden) Unwrap() error { return f.error }

func forbidden(err error) error {
	if refusal := deviceauth.AsError(err); refusal != nil && refusal.Code == "access_denied" {
		return isForbidden{err}
	}
	return err
}

// refusalAnswer is RFC 6749 §5.2.
type refusalAnswer struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
	Interval    int    `json:"interval,omitempty"` // of slow_down, in seconds: what it has grown to
}

// oauthError says what went wrong in the dialect's words, and is the one place
// where a fault of ours is logged and told: as something that passes, with
// nothing consumed.
func (s *vendorDialect) oauthError(r *http.Request, err error) *answer {
	refusal := deviceauth.AsError(err)
	if refusal == nil {
		return s.faultAnswer(r, err)
	}
	status := statusOf(err, refusal)
	if other, ok := s.status[refusal.Code]; ok {
		status = other
	}
	body := refusalAnswer{Error: s.name(err, refusal), Description: refusal.Description}
	var hurried *deviceauth.SlowDownError
	if errors.As(err, &hurried) {
		body.Interval = wholeSeconds(hurried.Interval)
	}
	a := jsonAnswer(status, body)
	if status == http.StatusServiceUnavailable {
		a.set("Retry-After", retryPaused)
	}
	var throttled *deviceauth.RateLimitError
	if errors.As(err, &throttled) {
		a.status = http.StatusTooManyRequests
		a.set("Retry-After", strconv.Itoa(wholeSeconds(throttled.RetryAfter)))
	}
	if a.status == http.StatusUnauthorized && r.Header.Get("Authorization") != "" {
		a.set("WWW-Authenticate", "Basic realm="+strconv.Quote(s.cfg.Engine.Issuer()))
	}
	return a
}

// name is what the dialect calls a refusal.
func (s *vendorDialect) name(err error, refusal *deviceauth.Error) string {
	if other, ok := s.rename[refusal.Code+ofCode]; ok && errors.As(err, new(aboutCode)) {
		return other
	}
	if other, ok := s.rename[refusal.Code]; ok {
		return other
	}
	return refusal.Code
}

func (h *Handler) faultAnswer(r *http.Request, err error) *answer {
	h.fault(r, err)
	body := refusalAnswer{Error: "temporarily_unavailable", Description: "the server cannot answer now; try again"}
	return jsonAnswer(http.StatusServiceUnavailable, body).set("Retry-After", retryAfter)
}

// retryAfter, in seconds, is about what a store takes to come back.
const retryAfter = "5"

var retryPaused = strconv.Itoa(wholeSeconds(deviceauth.RetryPaused))

func statusOf(err error, refusal *deviceauth.Error) int {
	var denied isForbidden
	switch {
	case errors.Is(err, errTooLarge):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, errEncoded):
		return http.StatusUnsupportedMediaType
	case refusal.Code == "invalid_client":
		return http.StatusUnauthorized
	case refusal.Code == "temporarily_unavailable":
		return http.StatusServiceUnavailable
	case errors.As(err, &denied):
		return http.StatusForbidden
	}
	return http.StatusBadRequest
}
