package oauthapi

import (
	"net/http"
	"slices"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/endpoint"
)

// entraMetadata is the OpenID Connect metadata below each tenant, which the Microsoft
// libraries read first. The endpoints in it stay below the tenant that was asked for; there is
// one issuer, whatever the tenant.
func entraMetadata(s *vendorDialect) endpoint.Route {
	return s.open(func(r *http.Request) (*endpoint.Response, error) {
		path := s.origin + strings.TrimSuffix(r.URL.Path, "v2.0/.well-known/openid-configuration")
		return public(endpoint.JSON(http.StatusOK, withoutEmpty(map[string]any{
			"issuer":                                s.cfg.Engine.Issuer(),
			"authorization_endpoint":                s.origin + s.cfg.Paths.Authorize,
			"device_authorization_endpoint":         path + "oauth2/v2.0/devicecode",
			"token_endpoint":                        path + "oauth2/v2.0/token",
			"jwks_uri":                              s.origin + s.cfg.Paths.JWKS,
			"userinfo_endpoint":                     s.origin + s.cfg.Paths.Userinfo,
			"response_types_supported":              []string{"code"},
			"subject_types_supported":               []string{"public"},
			"id_token_signing_alg_values_supported": s.cfg.Keys.Algorithms(),
			"scopes_supported":                      s.cfg.Engine.Scopes(),
		}))), nil
	})
}

// entraDefault stands for all that an application has of a resource.
const entraDefault = ".default"

// entraScopes reads scopes as the Microsoft libraries write them: behind the
// resource that they are of, as in api://1234/products:read, and
// <resource>/.default for all that the client has
// (https://learn.microsoft.com/entra/identity-platform/scopes-oidc). A resource
// that the server knows as an audience is asked for; any other means this
// server, like a tenant. A scope that the client has under the very name is itself.
func entraScopes(e *deviceauth.Engine, client, asked string) (scope string, resource []string) {
	has := deviceauth.Scope("")
	if c, ok := e.Client(client); ok {
		has = c.Scope
	}
	// In the order in which they were asked for.
	var list []string
	for _, s := range strings.Fields(asked) {
		// The last slash: resources are URLs themselves.
		end := strings.LastIndex(s, "/")
		if end < 0 || has.Has(s) {
			list = append(list, s)
			continue
		}
		if a, ok := deviceauth.AudienceOf(s[:end], e.Audience()); ok && !slices.Contains(resource, a) {
			resource = append(resource, a)
		}
		if name := s[end+1:]; name != entraDefault {
			list = append(list, name)
			continue
		}
		list = append(list, ofTheApplication(has)...)
	}
	return strings.Join(list, " "), resource
}

// ofTheApplication are the scopes that are no OpenID Connect ones: the libraries
// name these by themselves.
func ofTheApplication(has deviceauth.Scope) []string {
	standard := []string{
		deviceauth.ScopeOpenID, deviceauth.ScopeProfile, deviceauth.ScopeEmail, deviceauth.ScopeOfflineAccess,
	}
	return slices.DeleteFunc(has.List(), func(s string) bool { return slices.Contains(standard, s) })
}
