package guard

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// Refuse returns the challenge for a request that is refused with an error,
// [ErrNoCredentials] or a *[deviceauth.Error]. The status, 400, 401 or 403, follows
// from the error's code (RFC 6750 §3.1).
func (g *Guard) Refuse(r *http.Request, err error) *Challenge {
	status := http.StatusUnauthorized
	if refusal := deviceauth.AsError(err); refusal != nil {
		switch refusal.Code {
		case "invalid_request":
			status = http.StatusBadRequest
		case "insufficient_scope":
			status = http.StatusForbidden
		}
	}
	return g.challenge(r, status, err)
}

// challenge builds the WWW-Authenticate header (RFC 6750 §3, RFC 9728 §5.1). It has
// no error code for a request without credentials, which has made no mistake.
func (g *Guard) challenge(r *http.Request, status int, err error) *Challenge {
	parts := []string{"realm=" + strconv.Quote(g.realm())}
	if refusal := deviceauth.AsError(err); refusal != nil {
		parts = append(parts,
			"error="+strconv.Quote(refusal.Code), "error_description="+strconv.Quote(refusal.Description))
	}
	if status == http.StatusForbidden || err == ErrNoCredentials && g.options.Need.Scope != "" {
		parts = append(parts, "scope="+strconv.Quote(string(g.options.Need.Scope)))
	}
	if described := g.metadataOf(r); described != "" {
		parts = append(parts, "resource_metadata="+strconv.Quote(described))
	}
	return &Challenge{
		Status: status, Headers: append(g.basic(status), "Bearer "+strings.Join(parts, ", ")),
		err: err, scope: g.options.Need.Scope, server: g.server.Issuer(),
	}
}

// basic returns the challenge of RFC 7617, for tools that send a password only when
// they are asked for one. It must come first: some tools use the first challenge that
// they understand.
func (g *Guard) basic(status int) []string {
	if !g.options.Basic || status != http.StatusUnauthorized {
		return nil
	}
	return []string{"Basic realm=" + strconv.Quote(g.realm()) + `, charset="UTF-8"`}
}

// realm returns the realm of the challenges: the issuer, or with Basic its host
// alone. Some container registries announce the URL of their token server as the
// realm, and their clients would take the issuer for such a server.
func (g *Guard) realm() string {
	issuer := g.server.Issuer()
	if u, err := url.Parse(issuer); err == nil && g.options.Basic {
		return u.Host
	}
	return issuer
}
