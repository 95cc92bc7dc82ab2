// Package response has what several handlers write into responses in the same way:
// CORS headers (Fetch standard), cookie names and JSON.
package response

import (
	"context"
	"net/http"
)

// AllowOrigin allows the request's origin to read the response if known returns true
// for it, and reports whether it does. An unknown origin is no error: the browser
// does not let its page read the response. Credentials are never allowed, because no
// endpoint uses cookies.
func AllowOrigin(header http.Header, r *http.Request, known func(context.Context, string) bool) bool {
	header.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if origin == "" || !known(r.Context(), origin) {
		return false
	}
	SetOrigin(header, origin)
	return true
}

// SetOrigin lets pages of an origin read the response with its headers
// WWW-Authenticate and Retry-After.
func SetOrigin(header http.Header, origin string) {
	header.Set("Access-Control-Allow-Origin", origin)
	header.Set("Access-Control-Expose-Headers", "WWW-Authenticate, Retry-After")
}

// AllowAnyOrigin lets pages of any origin read a public document.
func AllowAnyOrigin(header http.Header) { header.Set("Access-Control-Allow-Origin", "*") }

// Permit adds the headers of a preflight response. Two hours is the longest
// Access-Control-Max-Age that all browsers accept.
func Permit(header http.Header, methods string) {
	header.Set("Access-Control-Allow-Methods", methods)
	header.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
	header.Set("Access-Control-Max-Age", "7200")
}

// PermitAsked lets a page send all the headers that its preflight lists, such as
// mcp-protocol-version. It is for public documents, where no header can do harm.
func PermitAsked(header http.Header, r *http.Request) {
	if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" {
		header.Set("Access-Control-Allow-Headers", asked)
		header.Add("Vary", "Access-Control-Request-Headers")
	}
}
