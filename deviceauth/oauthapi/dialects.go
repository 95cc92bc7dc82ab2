package oauthapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/endpoint"
)

// dialects are the supported products. Each entry follows the public documentation
// named above it.
var dialects = map[string]dialect{
	// https://auth0.com/docs/api/authentication/device-authorization-flow and
	// https://auth0.com/docs/get-started/authentication-and-authorization-flow/device-authorization-flow
	"auth0": {
		paths: dialectPaths{
			authorization: "/oauth/device/code", token: "/oauth/token", userinfo: "/userinfo", revoke: "/oauth/revoke",
		},
		status: map[string]int{
			"authorization_pending": 403, "expired_token": 403, "access_denied": 403, "slow_down": 429,
		},
	},

	// https://codeontime.com/products/restful-api/device-authorization-flow
	"codeontime": {
		paths: dialectPaths{
			authorization: codeOnTime + "/auth/device", token: codeOnTime + "/token",
			userinfo: codeOnTime + "/userinfo", revoke: codeOnTime + "/revoke",
		},
		rename:  map[string]string{"invalid_grant" + ofCode: "invalid_request"},
		commas:  true,
		nulls:   true,
		members: codeOnTimeMembers,
		more:    codeOnTimeMore,
	},

	// https://docs.github.com/apps/oauth-apps/building-oauth-apps/authorizing-oauth-apps#device-flow
	"github": {
		paths: dialectPaths{authorization: "/login/device/code", token: "/login/oauth/access_token"},
		rename: map[string]string{
			"invalid_grant" + ofCode: "incorrect_device_code", "invalid_grant": "bad_refresh_token",
			"invalid_client": "incorrect_client_credentials",
		},
		commas: true,
		query:  true, // VS Code, Home Assistant and others send an empty body
		finish: githubFinish,
	},

	// https://developers.google.com/identity/protocols/oauth2/limited-input-device
	// Devices from before RFC 8628 send the older names of grant and code.
	"google": {
		paths:          dialectPaths{authorization: "/device/code", token: "/token"},
		status:         map[string]int{"authorization_pending": 428, "slow_down": 403, "access_denied": 403},
		grants:         map[string]string{"http://oauth.net/grant_type/device/1.0": grantDeviceCode},
		deviceCodeName: "code",
		members: func(_ *vendorDialect, _ deviceauth.Credentials, a *authorizationResponse) {
			a.URL = a.URI
		},
	},

	// https://learn.microsoft.com/entra/identity-platform/v2-oauth2-device-code
	// The Microsoft libraries send the grant type as device_code, or the code
	// as code.
	"entra": {
		paths: dialectPaths{authorization: tenant + "oauth2/v2.0/devicecode", token: tenant + "oauth2/v2.0/token"},
		rename: map[string]string{
			"invalid_grant" + ofCode: "bad_verification_code", "access_denied" + ofCode: "authorization_declined",
		},
		grants:         map[string]string{"device_code": grantDeviceCode},
		deviceCodeName: "code",
		scoping:        entraScopes,
		members: func(_ *vendorDialect, _ deviceauth.Credentials, a *authorizationResponse) {
			a.Message = fmt.Sprintf("Open %s in a browser and type the code %s to sign in.", a.URI, a.UserCode)
		},
		more: map[string]func(*vendorDialect) endpoint.Route{
			tenant + "v2.0/.well-known/openid-configuration": entraMetadata,
		},
	},
}

// githubFinish converts a response to GitHub's format: errors with status 200, scopes
// separated by commas, and a form unless the request accepts JSON.
func githubFinish(r *http.Request, a *endpoint.Response) *endpoint.Response {
	// A fault keeps its status: a library that takes 200 for "not yet" would poll for
	// ever.
	if a.Status >= http.StatusInternalServerError {
		return a
	}
	members := map[string]any{}
	d := json.NewDecoder(bytes.NewReader(a.Body))
	// Otherwise expires_in would become 9e+02 in a form.
	d.UseNumber()
	d.Decode(&members) // our own JSON: cannot fail
	if scope, ok := members["scope"].(string); ok {
		members["scope"], members["token_type"] = strings.ReplaceAll(scope, " ", ","), "bearer"
	}
	finished := endpoint.JSON(http.StatusOK, members)
	// The default of this product is a form; most libraries request JSON.
	if !strings.Contains(r.Header.Get("Accept"), "json") {
		form := url.Values{}
		for name, value := range members {
			form.Set(name, fmt.Sprint(value))
		}
		finished.Body = []byte(form.Encode())
		finished.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	}
	if wait := a.Header.Get("Retry-After"); wait != "" {
		finished.Set("Retry-After", wait)
	}
	return finished
}
