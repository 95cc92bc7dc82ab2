// Package response has what several handlers write into an answer in the same way:
// which pages of other origins may read it (the Fetch standard's CORS protocol), and
// documents of JSON. It decides nothing.
package response

import (
	"context"
	"net/http"
)

// AllowOrigin names the request's origin where it is a known one, and reports
// whether it is. An unknown one is no error: its browser keeps the answer from it.
// Credentials are never allowed: no endpoint looks at cookies.
func AllowOrigin(header http.Header, r *http.Request, known func(context.Context, string) bool) bool {
	header.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if origin == "" || !known(r.Context(), origin) {
		return false
	}
	SetOrigin(header, origin)
	return true
}

// SetOrigin lets pages of an origin read the answer, and what its headers say about
// credentials and waiting.
func SetOrigin(header http.Header, origin string) {
	header.Set("Access-Control-Allow-Origin", origin)
	header.Set("Access-Control-Expose-Headers", "WWW-Authenticate, Retry-After")
}

// AllowAnyOrigin lets all pages read what is public anyway.
func AllowAnyOrigin(header http.Header) { header.Set("Access-Control-Allow-Origin", "*") }

// Permit answers a preflight: what a page may send. Two hours is the longest that
// browsers believe.
func Permit(header http.Header, methods string) {
	header.Set("Access-Control-Allow-Methods", methods)
	header.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
	header.Set("Access-Control-Max-Age", "7200")
}

// PermitAsked lets a page send all the headers that it asks for: what is public may
// be asked for in any way, with mcp-protocol-version for example.
func PermitAsked(header http.Header, r *http.Request) {
	if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" {
		header.Set("Access-Control-Allow-Headers", asked)
		header.Add("Vary", "Access-Control-Request-Headers")
	}
}
