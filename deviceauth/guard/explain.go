package guard

import (
	"errors"
	"html"
	"net/http"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/response"
)

// An explanation is the body of the response to a refused request. It explains what
// the WWW-Authenticate header says (RFC 6750 §3).
type explanation struct {
	Error       string           `json:"error,omitempty"` // empty if the request had no credentials
	Description string           `json:"error_description"`
	Scope       deviceauth.Scope `json:"scope,omitempty"` // that the guard needs
	Server      string           `json:"authorization_server,omitempty"`
}

// Explain writes the response to a refused request with a short body: text, or JSON
// or HTML if the request prefers one of these. Headers that are already set, such as
// the challenge, are sent with it. The body must contain no part of the request.
func Explain(w http.ResponseWriter, r *http.Request, status int, err error) {
	e, header := explanationOf(status, err), w.Header()
	header.Add("Vary", "Accept")
	switch accept := r.Header.Get("Accept"); {
	case strings.Contains(accept, "text/html"):
		header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		header.Set("X-Content-Type-Options", "nosniff")
		response.Write(w, r, status, "text/html; charset=utf-8", e.page(status))
	case strings.Contains(accept, "json"):
		header.Set("Cache-Control", "no-store")
		response.Write(w, r, status, "application/json", response.JSON(e))
	default:
		header.Set("X-Content-Type-Options", "nosniff")
		response.Write(w, r, status, "text/plain; charset=utf-8", []byte(e.text()+"\n"))
	}
}

// explanationOf returns the explanation of an error. A fault of the server gets a
// fixed text, because its own could contain the names of hosts and stores.
func explanationOf(status int, err error) (e explanation) {
	var c *Challenge
	if errors.As(err, &c) {
		e.Server = c.server
		if status == http.StatusForbidden || errors.Is(err, ErrNoCredentials) {
			e.Scope = c.scope
		}
	}
	switch refusal := deviceauth.AsError(err); {
	case refusal != nil:
		e.Error, e.Description = refusal.Code, refusal.Description
	case errors.Is(err, ErrNoCredentials):
		e.Description = "a bearer token is needed here"
	case status >= http.StatusInternalServerError:
		e.Error, e.Description = "temporarily_unavailable", "access cannot be checked now; try again"
	default:
		e.Error, e.Description = "invalid_request", "this request is refused"
	}
	return e
}

// text is the explanation as a sentence or two, for people and logs.
func (e explanation) text() string {
	text := strings.ToUpper(e.Description[:1]) + e.Description[1:] + "."
	if e.Scope != "" {
		text += " Scope: " + string(e.Scope) + "."
	}
	if e.Server != "" {
		text += " Tokens are given by " + e.Server
	}
	return text
}

// page is the explanation as an HTML page without styles and scripts, which the
// strict Content-Security-Policy allows.
func (e explanation) page(status int) []byte {
	title := html.EscapeString(http.StatusText(status))
	return []byte("<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n" +
		"<meta name=\"viewport\" content=\"width=device-width\">\n<title>" + title + "</title>\n" +
		"<h1>" + title + "</h1>\n<p>" + html.EscapeString(e.text()) + "</p>\n</html>\n")
}
