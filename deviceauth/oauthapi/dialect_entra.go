package oauthapi

import (
	"net/http"
	"slices"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/endpoint"
)

// entraMetadata serves the OpenID Connect metadata below each tenant, which the
// Microsoft libraries read first. The endpoints in it are below the requested tenant;
// the issuer is the same for all tenants.
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

// entraDefault stands for all scopes that an application has for a resource.
const entraDefault = ".default"

// entraScopes translates scopes in the form of the Microsoft libraries, which prefix
// them with their resource, as in api://1234/products:read, and use
// <resource>/.default for all scopes of the client
// (https://learn.microsoft.com/entra/identity-platform/scopes-oidc). A resource that
// is an audience of the server is requested; any other one stands for this server,
// like a tenant. A scope that the client has under exactly this name is not
// translated.
func entraScopes(e *deviceauth.Engine, client, asked string) (scope string, resource []string) {
	has := deviceauth.Scope("")
	if c, ok := e.Client(client); ok {
		has = c.Scope
	}
	// In the order in which they are requested.
	var list []string
	for _, s := range strings.Fields(asked) {
		// The last slash, because a resource is a URL itself.
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
		list = append(list, applicationScopes(has)...)
	}
	return strings.Join(list, " "), resource
}

// applicationScopes returns the scopes that are not from OpenID Connect, which the
// libraries request by themselves.
func applicationScopes(has deviceauth.Scope) []string {
	standard := []string{
		deviceauth.ScopeOpenID, deviceauth.ScopeProfile, deviceauth.ScopeEmail, deviceauth.ScopeOfflineAccess,
	}
	return slices.DeleteFunc(has.List(), func(s string) bool { return slices.Contains(standard, s) })
}
