package guard

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// Refuse is the challenge to a request that is refused for a reason:
// [ErrNoCredentials], or a *[deviceauth.Error]. The status follows from the
// error's code (RFC 6750 §3.1): 400, 401 or 403.
func (s *Guard) Refuse(r *http.Request, err error) *Challenge {
	status := http.StatusUnauthorized
	if refusal := deviceauth.AsError(err); refusal != nil {
		switch refusal.Code {
		case "invalid_request":
			status = http.StatusBadRequest
		case "insufficient_scope":
			status = http.StatusForbidden
		}
	}
	return s.challenge(r, status, err)
}

// challenge writes the WWW-Authenticate header (RFC 6750 §3, RFC 9728 §5.1). A
// request without credentials is told no error code, because it has made no
// mistake.
func (s *Guard) challenge(r *http.Request, status int, err error) *Challenge {
	parts := []string{"realm=" + strconv.Quote(s.realm())}
	if refusal := deviceauth.AsError(err); refusal != nil {
		parts = append(parts,
			"error="+strconv.Quote(refusal.Code), "error_description="+strconv.Quote(refusal.Description))
	}
	if status == http.StatusForbidden || err == ErrNoCredentials && s.options.Need.Scope != "" {
		parts = append(parts, "scope="+strconv.Quote(string(s.options.Need.Scope)))
	}
	if described := s.metadataOf(r); described != "" {
		parts = append(parts, "resource_metadata="+strconv.Quote(described))
	}
	return &Challenge{
		Status: status, Headers: append(s.basic(status), "Bearer "+strings.Join(parts, ", ")),
		err: err, scope: s.options.Need.Scope, server: s.server.Issuer(),
	}
}

// basic is the challenge of RFC 7617 for tools that send a password only when
// they are asked for one. It comes first: some tools use the first challenge
// that they know.
func (s *Guard) basic(status int) []string {
	if !s.options.Basic || status != http.StatusUnauthorized {
		return nil
	}
	return []string{"Basic realm=" + strconv.Quote(s.realm()) + `, charset="UTF-8"`}
}

// realm names the server. Some container registries put the URL of their token
// server there, and their tools would take ours for such a server; so with Basic
// it is the host alone.
func (s *Guard) realm() string {
	issuer := s.server.Issuer()
	if u, err := url.Parse(issuer); err == nil && s.options.Basic {
		return u.Host
	}
	return issuer
}
