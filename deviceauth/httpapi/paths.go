package httpapi

import "strings"

// Paths are where things are. Empty ones have their defaults below the
// issuer's path; set ones are used as they are.
type Paths struct {
	DeviceAuthorization string `json:"device_authorization,omitempty"` // /oauth2/device_authorization
	Token               string `json:"token,omitempty"`                // /oauth2/token
	Revoke              string `json:"revoke,omitempty"`               // /oauth2/revoke
	JWKS                string `json:"jwks,omitempty"`                 // /oauth2/jwks
	Device              string `json:"device,omitempty"`               // /device

	prefix string // the issuer's path
}

func (p *Paths) fill(prefix string) {
	p.prefix = prefix
	for _, path := range []struct {
		is  *string
		def string
	}{
		{&p.DeviceAuthorization, "/oauth2/device_authorization"},
		{&p.Token, "/oauth2/token"},
		{&p.Revoke, "/oauth2/revoke"},
		{&p.JWKS, "/oauth2/jwks"},
		{&p.Device, "/device"},
	} {
		if *path.is == "" {
			*path.is = prefix + path.def
		}
		*path.is = strings.TrimSuffix(*path.is, "/")
	}
}

// metadata lists where clients look: RFC 8414 §3.1 puts the issuer's path
// behind the well-known part, OpenID Connect Discovery §4 before it, and
// clients try either for both.
func (p *Paths) metadata() []string {
	var all []string
	for _, name := range []string{"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"} {
		all = append(all, name+p.prefix, p.prefix+name)
	}
	return all
}
