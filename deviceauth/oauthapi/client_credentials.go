package oauthapi

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// request reads what every OAuth endpoint of a client reads first: the parameters of
// the body, and the client's credentials. It checks neither secret nor client: the
// engine does, together with what is asked for.
func (s *vendorDialect) request(r *http.Request) (params, deviceauth.Credentials, error) {
	// Before anything is known of the client: what cannot be read has no client_id.
	p, err := readParams(r, s.query)
	if err != nil {
		return nil, deviceauth.Credentials{}, err
	}
	c, err := s.credentials(r, p)
	return p, c, err
}

// credentials reads by which way a client authenticates: Basic (client_secret_basic), a
// secret in the body (client_secret_post), or a client_id alone (none). More than one way
// in a request is refused (RFC 6749 §2.3).
func (h *Handler) credentials(r *http.Request, p params) (deviceauth.Credentials, error) {
	// Header.Get would hide a second header, of which a proxy may have looked at the other one.
	id, secret := p.get("client_id"), p.get("client_secret")
	headers := r.Header.Values("Authorization")
	switch {
	case len(headers) > 1:
		return deviceauth.Credentials{}, badRequest("more than one Authorization header")
	case len(headers) == 0 && secret != "":
		return deviceauth.Credentials{ClientID: id, Secret: deviceauth.Secret(secret), Method: deviceauth.AuthPost}, nil
	// invalid_client and not invalid_request: RFC 6749 §5.2 has "no client authentication included" there.
	case len(headers) == 0 && id == "":
		return deviceauth.Credentials{}, missing(r, "invalid_client", "client_id")
	case len(headers) == 0:
		return deviceauth.Credentials{ClientID: id, Method: deviceauth.AuthNone}, nil
	case secret != "":
		return deviceauth.Credentials{}, badRequest("a client authenticates in one way: by Basic, or by client_secret")
	}
	c, ok := parseBasic(headers[0], h.isClient)
	if !ok {
		return c, deviceauth.NewError("invalid_client",
			"Authorization: want Basic with a form-encoded client_id and secret")
	}
	// The same id in the body as in the header does no harm, and many libraries send it.
	if id != "" && id != c.ClientID {
		return c, badRequest("client_id is not the one that Basic names")
	}
	return c, nil
}

// parseBasic reads HTTP Basic, of which both halves are form-encoded (RFC 6749
// §2.3.1). Programs such as curl send them as they are (RFC 7617 §2), so a half
// that is no form-encoded text means itself, and so does a client_id that is a
// client's only as it is written; the secret is compared both ways.
func parseBasic(header string, isClient func(id string) bool) (deviceauth.Credentials, bool) {
	scheme, text, _ := strings.Cut(header, " ")
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	user, password, found := strings.Cut(string(raw), ":")
	// Both readings of the secret are compared; which of them was meant cannot be told.
	c := deviceauth.Credentials{
		ClientID: formUnescape(user), Secret: deviceauth.Secret(formUnescape(password)), Method: deviceauth.AuthBasic,
	}
	// An id with a + or % in it, from a program that does not encode it.
	if !isClient(c.ClientID) && isClient(user) {
		c.ClientID = user
	}
	if c.Secret.Reveal() != password {
		c.Written = deviceauth.Secret(password)
	}
	return c, strings.EqualFold(scheme, "Basic") && found && err == nil
}

// isClient reports whether a client has this client_id, as it is written.
func (h *Handler) isClient(id string) bool {
	_, known := h.cfg.Engine.Client(id)
	return known
}

// formUnescape decodes application/x-www-form-urlencoded. A text that is not well-formed
// means itself.
func formUnescape(text string) string {
	if decoded, err := url.QueryUnescape(text); err == nil {
		return decoded
	}
	return text
}
