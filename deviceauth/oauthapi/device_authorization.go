package oauthapi

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/endpoint"
	"github.com/deviceauth/caddy-deviceauth/internal/response"
)

// authorizationResponse is RFC 8628 §3.2, with what dialects add.
type authorizationResponse struct {
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

// EncodeJSON implements [endpoint.Encoder]. The members that only dialects add are left to
// encoding/json: each of them has to be in the condition, or it is not sent.
func (a *authorizationResponse) EncodeJSON() []byte {
	if a.URL != "" || a.Message != "" || a.RedirectURI != "" || a.Token != nil {
		return response.JSON(a)
	}
	o := response.NewObject(192 + len(a.DeviceCode) + 2*len(a.UserCode) + len(a.URI) + len(a.Complete))
	o.String("device_code", a.DeviceCode)
	o.String("user_code", a.UserCode)
	o.String("verification_uri", a.URI)
	if a.Complete != "" {
		o.String("verification_uri_complete", a.Complete)
	}
	o.Int("expires_in", a.ExpiresIn)
	o.Int("interval", a.Interval)
	return o.End()
}

// deviceAuthorization is RFC 8628 §3.1: it begins a grant and answers with its device code
// and user code. The extensions beside it are RFC 8707 (resource), RFC 7636 (code_challenge)
// and device_name, by which a device names itself to the person.
func (s *vendorDialect) deviceAuthorization(r *http.Request) (*endpoint.Response, error) {
	if s.crossSite(r) {
		return nil, forbidden(errCrossSite)
	}
	p, client, err := s.request(r)
	if err != nil {
		return nil, err
	}
	scope, resource := s.scope(p, client.ClientID)
	a, err := s.cfg.Engine.Authorize(r.Context(), deviceauth.AuthorizeRequest{
		Client: client, Scope: scope, Audience: slices.Concat(p["audience"], p["resource"], resource),
		From: s.cfg.ClientIP(r), Place: s.cfg.Place(r),
		Challenge: p.get("code_challenge"), ChallengeMethod: p.get("code_challenge_method"),
		Label: p.get("device_name"),
	})
	if err != nil {
		return nil, forbidden(err)
	}
	// RFC 8628 §3.3.1: the code in the URI only saves typing; the page asks to compare it.
	page := s.origin + s.cfg.Paths.Device
	body := &authorizationResponse{
		DeviceCode: a.DeviceCode.Reveal(), UserCode: a.UserCode, URI: page,
		ExpiresIn: endpoint.Seconds(a.ExpiresIn), Interval: endpoint.Seconds(a.Interval),
	}
	if a.Linkable {
		body.Complete = page + "?user_code=" + url.QueryEscape(a.UserCode)
	}
	if s.members != nil {
		s.members(s, client, body)
	}
	return endpoint.JSON(http.StatusOK, body), nil
}

// errCrossSite becomes a 403: it is about where the request comes from, and not about
// the client.
var errCrossSite = deviceauth.NewError("access_denied", "a page of another site may not ask for a code")

// crossSite reports whether a browser sends the request for a page of another
// site, which no client names as its origin. A form is posted across sites
// without a preflight, so any page could have the browser of whoever reads it ask for
// codes, and use up the limits of their addresses (RFC 8628 §3.1 wants no proof of
// a public client). Sec-Fetch-Site is set by the browser alone (W3C Fetch Metadata
// §2.3). Origin is for browsers that do not send it, for a neighbouring host of the
// same site, and for a foreign host name that resolves to this server's address.
// The origin "null" is never the issuer's (RFC 6454 §7.3).
func (h *Handler) crossSite(r *http.Request) bool {
	origin, site := r.Header.Get("Origin"), r.Header.Get("Sec-Fetch-Site")
	if origin != "" && h.cfg.Engine.AllowsOrigin(r.Context(), origin) {
		return false
	}
	return site == "cross-site" || origin != "" && origin != h.origin
}
