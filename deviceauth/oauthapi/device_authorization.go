package oauthapi

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/endpoint"
	"github.com/deviceauth/caddy-deviceauth/internal/response"
)

// authorizationResponse is the response of RFC 8628 §3.2, with the members that
// dialects add.
type authorizationResponse struct {
	DeviceCode string `json:"device_code"`
	UserCode   string `json:"user_code"`
	URI        string `json:"verification_uri"`
	Complete   string `json:"verification_uri_complete,omitempty"` // empty if the code must be typed
	ExpiresIn  int    `json:"expires_in"`
	Interval   int    `json:"interval"`

	URL         string        `json:"verification_url,omitempty"` // google: the name in a draft of the RFC
	Message     string        `json:"message,omitempty"`          // entra: for people
	RedirectURI string        `json:"redirect_uri,omitempty"`     // codeontime: the verification page
	Token       *tokenRequest `json:"token,omitempty"`            // codeontime
}

// EncodeJSON implements [endpoint.Encoder]. Responses with members that only dialects
// add are encoded by encoding/json. Each of these members must be in the condition,
// or it is not sent.
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

// deviceAuthorization serves the device authorization endpoint (RFC 8628 §3.1): it
// starts a grant and returns its device code and user code. It also supports resource
// (RFC 8707), code_challenge (RFC 7636), and device_name, an extension with the name
// of the device for the consent page.
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
	// RFC 8628 §3.3.1: the code in the URI only saves typing; the page asks the
	// person to compare it.
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

// errCrossSite is answered with status 403: the origin of the request is refused, not
// the client.
var errCrossSite = deviceauth.NewError("access_denied", "a page of another site may not ask for a code")

// crossSite reports whether a browser sends the request for a page of another site
// that is no client's origin. A form can be submitted across sites without a
// preflight, so any page could make a person's browser request codes and use up the
// limits of the person's address (RFC 8628 §3.1 requires no authentication of a
// public client). Sec-Fetch-Site is set only by the browser (W3C Fetch Metadata
// §2.3). Origin is checked for browsers without Sec-Fetch-Site, for another host of
// the same site, and for a foreign host name that resolves to this server's address.
// The origin "null" is never the issuer's (RFC 6454 §7.3).
func (h *Handler) crossSite(r *http.Request) bool {
	origin, site := r.Header.Get("Origin"), r.Header.Get("Sec-Fetch-Site")
	if origin != "" && h.cfg.Engine.AllowsOrigin(r.Context(), origin) {
		return false
	}
	return site == "cross-site" || origin != "" && origin != h.origin
}
