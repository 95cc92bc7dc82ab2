package httpapi

import "net/http"

// A corsPolicy says which pages of other origins may read an answer.
type corsPolicy int

const (
	corsNone    corsPolicy = iota // pages for people: none
	corsAny                       // what is public anyway: all
	corsClients                   // what needs a client: the pages that play a device
)

// cors adds the headers of an answer, on errors too. Credentials are never
// allowed: no endpoint looks at cookies.
func (h *Handler) cors(policy corsPolicy, header http.Header, r *http.Request) {
	switch policy {
	case corsAny:
		header.Set("Access-Control-Allow-Origin", "*")
	case corsClients:
		allowOrigin(header, r, h.origins)
	}
}

// allowOrigin names the request's origin where it is a known one. An unknown
// one is no error: its browser keeps the answer from it.
func allowOrigin(header http.Header, r *http.Request, known map[string]bool) bool {
	header.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if !known[origin] {
		return false
	}
	header.Set("Access-Control-Allow-Origin", origin)
	header.Set("Access-Control-Expose-Headers", "WWW-Authenticate, Retry-After")
	return true
}

// preflight answers OPTIONS.
func (h *Handler) preflight(route route, r *http.Request) *answer {
	a := newAnswer(http.StatusNoContent, "", nil).set("Allow", allowed(route))
	if route.cors == corsAny || route.cors == corsClients && h.origins[r.Header.Get("Origin")] {
		permit(a.header, allowed(route))
		if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" && route.cors == corsAny {
			a.set("Access-Control-Allow-Headers", asked) // mcp-protocol-version, say: what is public may be asked for in any way
			a.header.Add("Vary", "Access-Control-Request-Headers")
		}
	}
	return a
}

// permit says what a page may send. Two hours is the longest that browsers
// believe.
func permit(header http.Header, methods string) {
	header.Set("Access-Control-Allow-Methods", methods)
	header.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
	header.Set("Access-Control-Max-Age", "7200")
}
