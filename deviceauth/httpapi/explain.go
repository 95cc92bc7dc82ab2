package httpapi

import (
	"errors"
	"html"
	"net/http"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// An explanation is a guard's no for whoever reads the body of an answer: what
// its header says (RFC 6750 §3), in words.
type explanation struct {
	Error       string           `json:"error,omitempty"` // none where there were no credentials
	Description string           `json:"error_description"`
	Scope       deviceauth.Scope `json:"scope,omitempty"` // that the guard needs
	Server      string           `json:"authorization_server,omitempty"`
}

// Explain adds a short body to the refusal of a request by a guard: text, or JSON
// or HTML where the request would rather have that. It writes the answer.
func Explain(w http.ResponseWriter, r *http.Request, status int, err error) {
	a := explained(r, status, err)
	w.Header().Add("Vary", "Accept")
	a.write(w, r)
}

// explained is the answer of a refusal.
func explained(r *http.Request, status int, err error) *answer {
	e := explain(status, err)
	switch accept := r.Header.Get("Accept"); {
	case strings.Contains(accept, "text/html"):
		return newAnswer(status, "text/html; charset=utf-8", e.page(status)).
			set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'").set("X-Content-Type-Options", "nosniff")
	case strings.Contains(accept, "json"):
		return jsonAnswer(status, e)
	}
	return newAnswer(status, "text/plain; charset=utf-8", []byte(e.text()+"\n")).set("X-Content-Type-Options", "nosniff")
}

func explain(status int, err error) (e explanation) {
	var c *Challenge
	if errors.As(err, &c) {
		e.Server = c.server
		if status == http.StatusForbidden || errors.Is(err, errNoCredentials) {
			e.Scope = c.scope
		}
	}
	switch refusal := deviceauth.AsError(err); {
	case refusal != nil:
		e.Error, e.Description = refusal.Code, refusal.Description
	case errors.Is(err, errNoCredentials):
		e.Description = "a bearer token is needed here"
	case status >= http.StatusInternalServerError:
		e.Error, e.Description = "temporarily_unavailable", "who may come in cannot be looked up now; try again"
	default:
		e.Error, e.Description = "invalid_request", "this request cannot be judged"
	}
	return e
}

// text is the explanation as a sentence or two.
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

func (e explanation) page(status int) []byte {
	title := html.EscapeString(http.StatusText(status))
	return []byte("<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n<title>" +
		title + "</title>\n<h1>" + title + "</h1>\n<p>" + html.EscapeString(e.text()) + "</p>\n</html>\n")
}
