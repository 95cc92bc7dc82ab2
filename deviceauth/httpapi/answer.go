package httpapi

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/response"
)

// An answer is what a handler returns. Handlers never touch the
// ResponseWriter: one place writes, so nothing is written twice or half.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func newAnswer(status int, contentType string, body []byte) *answer {
	a := &answer{status: status, header: http.Header{}, body: body}
	if contentType != "" {
		a.header.Set("Content-Type", contentType)
	}
	return a
}

// jsonAnswer is an answer of an OAuth endpoint: never cached (RFC 6749 §5.1).
func jsonAnswer(status int, v any) *answer {
	var body []byte
	switch v := v.(type) {
	case refusalAnswer:
		body = v.json()
	case *authorizationAnswer:
		body = v.json()
	default:
		body = response.JSON(v)
	}
	a := newAnswer(status, "application/json", body)
	a.header.Set("Cache-Control", "no-store")
	return a
}

func redirect(to string) *answer {
	a := newAnswer(http.StatusSeeOther, "", nil)
	a.header.Set("Location", to)
	a.header.Set("Cache-Control", "no-store")
	a.header.Set("Referrer-Policy", "no-referrer")
	alone(a.header)
	return a
}

// methodNotAllowed is RFC 9110 §15.5.6, in words for whoever looks at the body.
func methodNotAllowed(route route, method string) *answer {
	methods := allowed(route)
	why := deviceauth.Quotable(method) + " is not allowed here; allowed are: " + methods
	a := newAnswer(http.StatusMethodNotAllowed, "text/plain; charset=utf-8", []byte(why+"\n"))
	if route.cors != corsNone { // an endpoint for programs
		a = jsonAnswer(http.StatusMethodNotAllowed, refusalAnswer{Error: "invalid_request", Description: why})
	}
	return a.set("Allow", methods)
}

func allowed(route route) string {
	var methods []string
	for m, do := range route.methods {
		if do != nil {
			methods = append(methods, m)
			if m == http.MethodGet {
				methods = append(methods, http.MethodHead)
			}
		}
	}
	slices.Sort(methods)
	return strings.Join(append(methods, http.MethodOptions), ", ")
}

// set adds a header and returns the answer, for chains.
func (a *answer) set(name, value string) *answer {
	a.header.Set(name, value)
	return a
}

// cookies adds cookies.
func (a *answer) cookies(list ...*http.Cookie) *answer {
	for _, c := range list {
		a.header.Add("Set-Cookie", c.String())
	}
	return a
}

func (a *answer) write(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	for name, values := range a.header {
		if before := header[name]; before != nil {
			values = append(before, values...)
		}
		header[name] = values
	}
	if a.status != http.StatusNoContent && a.status != http.StatusNotModified {
		header.Set("Content-Length", strconv.Itoa(len(a.body)))
	}
	w.WriteHeader(a.status)
	if r.Method != http.MethodHead {
		w.Write(a.body)
	}
}
