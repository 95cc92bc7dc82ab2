package devicecheck

import (
	"encoding/json"
	"net/url"
	"strings"
)

// The server's metadata (RFC 8414 §2, OpenID Connect Discovery §3), and where
// they are.

const (
	oauthName  = "/.well-known/oauth-authorization-server"
	openIDName = "/.well-known/openid-configuration"
)

const grantDeviceCode = "urn:ietf:params:oauth:grant-type:device_code"

// A document is what metadata say (RFC 8414 §2).
type document struct {
	Issuer              string   `json:"issuer"`
	DeviceAuthorization string   `json:"device_authorization_endpoint"`
	Token               string   `json:"token_endpoint"`
	Revocation          string   `json:"revocation_endpoint"`
	Introspection       string   `json:"introspection_endpoint"`
	Userinfo            string   `json:"userinfo_endpoint"`
	Keys                string   `json:"jwks_uri"`
	Grants              []string `json:"grant_types_supported"`
	Methods             []string `json:"token_endpoint_auth_methods_supported"`

	said *answer
}

// document is the metadata in an answer, or nil.
func (a *answer) document() *document {
	d := &document{said: a}
	if !a.ok() || json.Unmarshal(a.body, d) != nil {
		return nil
	}
	return d
}

// wellKnown puts a well-known name before the path of a URL (RFC 8414 §3.1),
// or in its place.
func wellKnown(u *url.URL, name string, withPath bool) string {
	address := u.Scheme + "://" + u.Host + name
	if withPath {
		address += strings.TrimSuffix(u.EscapedPath(), "/")
	}
	return address
}

// endpoints are those that are named, in a fixed order.
func (d *document) endpoints() [][2]string {
	return [][2]string{
		{"device_authorization_endpoint", d.DeviceAuthorization}, {"token_endpoint", d.Token}, {"jwks_uri", d.Keys},
		{"revocation_endpoint", d.Revocation}, {"introspection_endpoint", d.Introspection},
		{"userinfo_endpoint", d.Userinfo},
	}
}
