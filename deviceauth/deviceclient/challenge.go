package deviceclient

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// A challenge is an API's response to a request without a token (RFC 6750 §3).
type challenge struct {
	metadata string // URL of the API's metadata (RFC 9728 §5.1); may be empty
	realm    string
}

// fetchChallenge requests an API without a token, and returns its challenge. It is a
// GET of exactly this URL, because a guard may cover only a part of a site. The body
// is not read. An error counts as no challenge, because the well-known URLs are tried
// next.
func fetchChallenge(ctx context.Context, c *http.Client, api *url.URL) (found challenge) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, api.String(), nil)
	if err != nil {
		return found
	}
	answer, err := c.Do(r)
	if err != nil {
		return found
	}
	answer.Body.Close()
	for _, text := range answer.Header.Values("WWW-Authenticate") {
		if answer.StatusCode == http.StatusUnauthorized && IsBearer(text) {
			return challenge{metadata: ChallengeParameter(text, "resource_metadata"),
				realm: ChallengeParameter(text, "realm")}
		}
	}
	return found
}

// IsBearer reports whether a WWW-Authenticate header is a challenge of RFC 6750 §3.
// Scheme names are compared without regard to case (RFC 9110 §11.1).
func IsBearer(header string) bool { return len(header) >= 6 && strings.EqualFold(header[:6], "Bearer") }

// parameter matches one parameter of a challenge. Values are tokens or quoted strings
// (RFC 9110 §5.6). Backslashes are not unescaped: no parameter that is read here has
// any.
var parameter = regexp.MustCompile(`(?i)([a-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))`)

// ChallengeParameter returns a parameter of a WWW-Authenticate header (RFC 9110
// §11.6.1), or "" if it is missing.
func ChallengeParameter(header, name string) string {
	for _, m := range parameter.FindAllStringSubmatch(header, -1) {
		if strings.EqualFold(m[1], name) {
			return m[2] + m[3]
		}
	}
	return ""
}

// issuer returns the server that a realm names, as our guards do: a URL, or the host
// of one. It is for a site without metadata, because no audience is a URL of that
// site.
func (c challenge) issuer(api *url.URL) (issuer string, ok bool) {
	issuer = c.realm
	if !strings.Contains(issuer, "://") {
		issuer = api.Scheme + "://" + issuer
	}
	about := resource{Resource: api.String(), Servers: []string{issuer}}
	return issuer, c.realm != "" && about.check("", api) == nil
}
