package devicecheck

import (
	"encoding/json"
	"net/url"
	"strings"
)

// This file finds and decodes the server's metadata (RFC 8414 §2, OpenID Connect
// Discovery §3).

const (
	oauthName  = "/.well-known/oauth-authorization-server"
	openIDName = "/.well-known/openid-configuration"
)

const grantDeviceCode = "urn:ietf:params:oauth:grant-type:device_code"

// A document is the server's metadata (RFC 8414 §2). Only the members that some check
// needs are decoded. A member of the wrong type makes the whole document unreadable,
// as it does for strict client libraries.
type document struct {
	Issuer              string   `json:"issuer"`
	DeviceAuthorization string   `json:"device_authorization_endpoint"`
	Token               string   `json:"token_endpoint"`
	Revocation          string   `json:"revocation_endpoint"`
	Introspection       string   `json:"introspection_endpoint"`
	Userinfo            string   `json:"userinfo_endpoint"`
	Keys                string   `json:"jwks_uri"`
	Authorization       string   `json:"authorization_endpoint"`
	Grants              []string `json:"grant_types_supported"`
	Methods             []string `json:"token_endpoint_auth_methods_supported"`
	ResponseTypes       []string `json:"response_types_supported"`
	ChallengeMethods    []string `json:"code_challenge_methods_supported"`
	NamesItself         bool     `json:"authorization_response_iss_parameter_supported"`

	answer *answer
}

// document returns the metadata in an answer, or nil. It ignores the Content-Type:
// metadataType judges that with a finding of its own, and a wrong type must not hide
// other defects.
func (a *answer) document() *document {
	d := &document{answer: a}
	if !a.ok() || json.Unmarshal(a.body, d) != nil {
		return nil
	}
	return d
}

// wellKnown inserts a well-known name between host and path of a URL (RFC 8414 §3.1,
// RFC 9728 §3.1), or replaces the path with it. OpenID Connect Discovery §4 appends
// the name instead, which metadataOAuth does itself.
func wellKnown(u *url.URL, name string, withPath bool) string {
	address := u.Scheme + "://" + u.Host + name
	if withPath {
		address += strings.TrimSuffix(u.EscapedPath(), "/")
	}
	return address
}

// endpoints returns name and address of the endpoints in a fixed order. The first two
// are required by the device flow, the others are optional. An endpoint that the
// document lacks has an empty address.
func (d *document) endpoints() [][2]string {
	return [][2]string{
		{"device_authorization_endpoint", d.DeviceAuthorization}, {"token_endpoint", d.Token}, {"jwks_uri", d.Keys},
		{"revocation_endpoint", d.Revocation}, {"introspection_endpoint", d.Introspection},
		{"userinfo_endpoint", d.Userinfo}, {"authorization_endpoint", d.Authorization},
	}
}
