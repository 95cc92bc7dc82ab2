package oauthapi

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/endpoint"
)

// request reads what every OAuth endpoint for clients needs: the parameters of the
// body, and the client's credentials. It does not verify the credentials: the engine
// does that together with the request itself.
func (s *vendorDialect) request(r *http.Request) (params, deviceauth.Credentials, error) {
	// Parameters are read first, because they include the client_id.
	p, err := readParams(r, s.query)
	if err != nil {
		return nil, deviceauth.Credentials{}, err
	}
	c, err := s.credentials(r, p)
	if err == nil {
		err = s.checkOrigin(r, c.ClientID)
	}
	return p, c, err
}

// errOtherClient is answered with status 403: the origin of the request is refused, not
// the client.
var errOtherClient = deviceauth.NewError("access_denied", "a page of this origin may not act as this client")

// checkOrigin refuses a request of a page that may read the response but not act as this
// client. A page that may not read it learns nothing from it.
func (h *Handler) checkOrigin(r *http.Request, clientID string) error {
	if !endpoint.IsFromClientOrigin(r) {
		return nil
	}
	may, err := h.cfg.Engine.MayActAs(r.Context(), r.Header.Get("Origin"), clientID)
	if err == nil && !may {
		err = forbiddenError{error: errOtherClient}
	}
	return err
}

// credentials returns the client's credentials from Basic (client_secret_basic), from
// a secret in the body (client_secret_post), or from a client_id alone (none). It
// refuses a request that uses more than one of these methods (RFC 6749 §2.3).
func (h *Handler) credentials(r *http.Request, p params) (deviceauth.Credentials, error) {
	// Header.Get would hide a second header, which may be the one that a proxy has
	// checked.
	id, secret := p.get("client_id"), p.get("client_secret")
	headers := r.Header.Values("Authorization")
	switch {
	case len(headers) > 1:
		return deviceauth.Credentials{}, badRequest("more than one Authorization header")
	case len(headers) == 0 && secret != "":
		return deviceauth.Credentials{ClientID: id, Secret: deviceauth.Secret(secret), Method: deviceauth.AuthPost}, nil
	// invalid_client and not invalid_request: RFC 6749 §5.2 lists "no client
	// authentication included" there.
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
	// The same id in the body as in the header is harmless, and many libraries send
	// it.
	if id != "" && id != c.ClientID {
		return c, badRequest("client_id is not the one that Basic names")
	}
	return c, nil
}

// parseBasic parses HTTP Basic credentials. Both halves should be form-encoded (RFC
// 6749 §2.3.1), but programs such as curl send them literally (RFC 7617 §2). So a
// half that is not valid form encoding is used literally, and so is a client_id that
// names a client only in its literal form. The secret is compared in both forms.
func parseBasic(header string, isClient func(id string) bool) (deviceauth.Credentials, bool) {
	scheme, text, _ := strings.Cut(header, " ")
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	user, password, found := strings.Cut(string(raw), ":")
	// Both forms of the secret are compared, because the request does not show which
	// one is meant.
	c := deviceauth.Credentials{
		ClientID: formUnescape(user), Secret: deviceauth.Secret(formUnescape(password)), Method: deviceauth.AuthBasic,
	}
	// An id with a + or %, from a program that does not encode it.
	if !isClient(c.ClientID) && isClient(user) {
		c.ClientID = user
	}
	if c.Secret.Reveal() != password {
		c.Written = deviceauth.Secret(password)
	}
	return c, strings.EqualFold(scheme, "Basic") && found && err == nil
}

// isClient reports whether a client has this client_id, literally.
func (h *Handler) isClient(id string) bool {
	_, known := h.cfg.Engine.Client(id)
	return known
}

// formUnescape decodes application/x-www-form-urlencoded. It returns malformed text
// unchanged.
func formUnescape(text string) string {
	if decoded, err := url.QueryUnescape(text); err == nil {
		return decoded
	}
	return text
}
