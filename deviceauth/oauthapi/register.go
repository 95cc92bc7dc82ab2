package oauthapi

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/endpoint"
)

// A registration is the client information response (RFC 7591 §3.2.1, RFC 7592 §3).
type registration struct {
	ID       string `json:"client_id"`
	Secret   string `json:"client_secret,omitempty"`
	Expires  *int   `json:"client_secret_expires_at,omitempty"` // 0: never; omitted if there is no secret
	IssuedAt int64  `json:"client_id_issued_at"`
	Token    string `json:"registration_access_token,omitempty"`
	URI      string `json:"registration_client_uri"`
	deviceauth.ClientMetadata
}

// registrationOf returns the response for a registration of the engine.
func (h *Handler) registrationOf(r *deviceauth.Registered) registration {
	body := registration{
		ID: r.ID, Secret: r.Secret.Reveal(), IssuedAt: r.At.Unix(), Token: r.Token.Reveal(),
		URI: h.origin + h.cfg.Paths.Register + "/" + r.ID, ClientMetadata: r.Metadata,
	}
	// RFC 7591 §3.2.1 requires the member together with a secret; 0 means that the
	// secret does not expire.
	if body.Secret != "" {
		body.Expires = new(int)
	}
	return body
}

// registerRoute returns the route of the client registration endpoint (RFC 7591 §3).
// Pages of any origin may register: no cookie is used, and the response contains only
// the new client's secrets.
func (s *vendorDialect) registerRoute() endpoint.Route {
	return endpoint.Route{
		Methods: map[string]endpoint.Func{http.MethodPost: s.register}, CORS: endpoint.AnyOrigin, Fail: s.registerError,
	}
}

// registrationRoute returns the route of the client configuration endpoint (RFC 7592
// §2).
func (s *vendorDialect) registrationRoute() endpoint.Route {
	return endpoint.Route{Methods: map[string]endpoint.Func{
		http.MethodGet: s.readRegistration, http.MethodPut: s.changeRegistration, http.MethodDelete: s.deregister,
	}, CORS: endpoint.AnyOrigin, Fail: s.registerError}
}

// register handles a registration request (RFC 7591 §3.1): it creates a client from
// the metadata in the body. If the operator requires an initial access token, it is
// in the Authorization header.
func (s *vendorDialect) register(r *http.Request) (*endpoint.Response, error) {
	// Checked before the body, so that a client without the right to register learns
	// nothing about the body.
	token := bearerToken(r)
	if err := s.cfg.Engine.CheckInitialToken(token); err != nil {
		return nil, err
	}
	body, err := readJSON(r)
	if err != nil {
		return nil, err
	}
	metadata, err := deviceauth.ParseClientMetadata(body)
	if err != nil {
		return nil, err
	}
	metadata.Author = "" // only for the App Management API
	made, err := s.cfg.Engine.Register(r.Context(), deviceauth.RegisterRequest{
		Token: token, Metadata: metadata, From: s.cfg.ClientIP(r),
	})
	if err != nil {
		return nil, err
	}
	return endpoint.JSON(http.StatusCreated, s.registrationOf(made)), nil
}

// readRegistration handles a read request (RFC 7592 §2.1). The response omits the
// secret, of which only a digest is stored.
func (s *vendorDialect) readRegistration(r *http.Request) (*endpoint.Response, error) {
	token := bearerToken(r)
	found, err := s.cfg.Engine.ReadRegistration(r.Context(), s.registeredID(r), token)
	if err != nil {
		return nil, err
	}
	// The client sent the token, and RFC 7592 §3 requires it in each response.
	found.Token = token
	return endpoint.JSON(http.StatusOK, s.registrationOf(found)), nil
}

// changeRegistration handles an update request (RFC 7592 §2.2): it replaces all
// metadata.
func (s *vendorDialect) changeRegistration(r *http.Request) (*endpoint.Response, error) {
	token := bearerToken(r)
	if _, err := s.cfg.Engine.ReadRegistration(r.Context(), s.registeredID(r), token); err != nil {
		return nil, err
	}
	body, err := readJSON(r)
	if err != nil {
		return nil, err
	}
	if err := s.checkSame(r, body); err != nil {
		return nil, err
	}
	metadata, err := deviceauth.ParseClientMetadata(body)
	if err != nil {
		return nil, err
	}
	metadata.Author = ""
	changed, err := s.cfg.Engine.ChangeRegistration(r.Context(), s.registeredID(r),
		deviceauth.RegisterRequest{Token: token, Metadata: metadata, From: s.cfg.ClientIP(r)})
	if err != nil {
		return nil, err
	}
	changed.Token = token
	return endpoint.JSON(http.StatusOK, s.registrationOf(changed)), nil
}

// checkSame checks that the body has the client_id of the path and, if it has a
// secret, the client's secret (RFC 7592 §2.2).
func (s *vendorDialect) checkSame(r *http.Request, body []byte) error {
	var sent struct {
		ID     string            `json:"client_id"`
		Secret deviceauth.Secret `json:"client_secret"`
	}
	if err := json.Unmarshal(body, &sent); err != nil || sent.ID != s.registeredID(r) {
		return deviceauth.NewError("invalid_client_metadata", "client_id: want the client's own (RFC 7592)")
	}
	if sent.Secret != "" && !s.cfg.Engine.HasSecret(r.Context(), sent.ID, sent.Secret) {
		return deviceauth.NewError("invalid_client_metadata",
			"client_secret: want the client's own, or none (RFC 7592)")
	}
	return nil
}

// deregister handles a delete request (RFC 7592 §2.3): the client's grants and tokens
// end with it.
func (s *vendorDialect) deregister(r *http.Request) (*endpoint.Response, error) {
	if err := s.cfg.Engine.Deregister(r.Context(), s.registeredID(r), bearerToken(r)); err != nil {
		return nil, err
	}
	return endpoint.NewResponse(http.StatusNoContent, "", nil).Set("Cache-Control", "no-store"), nil
}

// registeredID returns the client_id in the path of a request.
func (s *vendorDialect) registeredID(r *http.Request) string {
	return strings.TrimPrefix(r.URL.Path, s.cfg.Paths.Register+"/")
}

// bearerToken returns the token of the Authorization header (RFC 6750 §2.1), or "" if
// there is no such header or more than one.
func bearerToken(r *http.Request) deviceauth.Secret {
	headers := r.Header.Values("Authorization")
	// With two headers a proxy may have checked the other one.
	if len(headers) != 1 {
		return ""
	}
	scheme, token, _ := strings.Cut(headers[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return deviceauth.Secret(strings.TrimSpace(token))
}

// readJSON reads a body that must be a JSON object (RFC 7591 §3.1). It returns the
// object with unique members whose names are matched exactly: encoding/json would
// accept "Client_Name" for client_name, and the last of several.
func readJSON(r *http.Request) ([]byte, error) {
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return nil, errEncoded
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, endpoint.MaxBody+1))
	kind, _, typeErr := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case err != nil:
		return nil, badRequest("the body broke off")
	case len(body) > endpoint.MaxBody:
		return nil, errTooLarge
	case typeErr != nil || kind != "application/json":
		return nil, badRequest("Content-Type: want application/json")
	case !utf8.Valid(body):
		return nil, badRequest("the body is not UTF-8")
	case bytes.Contains(body, []byte(`\u0000`)):
		return nil, badRequest("the body contains a NUL character")
	}
	// Member by member: a decoder into a map or a struct would hide a repeated
	// member.
	members := map[string]json.RawMessage{}
	d := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(body, byteOrderMark)))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return nil, badRequest("the body: want a JSON object")
	}
	for d.More() {
		name, err := d.Token()
		text, ok := name.(string)
		var value json.RawMessage
		if err != nil || !ok || d.Decode(&value) != nil {
			return nil, badRequest("the body: want a JSON object")
		}
		if _, double := members[text]; double {
			return nil, badRequest("the member " + deviceauth.Quotable(text) + " is repeated")
		}
		// All known names are ASCII in lower case. The decoder also takes a name with ſ for
		// one with s.
		if text == strings.ToLower(text) && strings.IndexFunc(text, isBeyondASCII) < 0 {
			members[text] = value
		}
	}
	if end, err := d.Token(); err != nil || end != json.Delim('}') || d.More() {
		return nil, badRequest("the body: want a JSON object")
	}
	return json.Marshal(members)
}

func isBeyondASCII(r rune) bool { return r > unicode.MaxASCII }

// registerError returns an OAuth error response, with the challenge of RFC 6750 §3
// for a missing or wrong token.
func (s *vendorDialect) registerError(r *http.Request, err error) *endpoint.Response {
	// Errors of RFC 7591 §3.2.2 have the same format as those of the token endpoint.
	a := s.oauthError(r, err)
	if refusal := deviceauth.AsError(err); refusal != nil && refusal.Code == "invalid_token" {
		a.Status = http.StatusUnauthorized
		challenge := "Bearer realm=" + strconv.Quote(s.cfg.Engine.Issuer())
		// RFC 6750 §3.1: no error code if no token was sent.
		if r.Header.Get("Authorization") != "" {
			challenge += `, error="invalid_token"`
		}
		a.Set("WWW-Authenticate", challenge)
	}
	return a
}
