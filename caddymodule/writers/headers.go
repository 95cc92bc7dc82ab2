package writers

import (
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Headers are added to a backend's response, which cannot know of them, since it does
// not know about tokens.
type Headers struct {
	Origin  string   // of the browser page that acts as a device, and may read the response; empty: none
	Vary    []string // request headers that the decision depends on; none: caching is left to the backend
	Private bool     // the response is only for the authenticated person or client
}

// Writer returns a writer that adds the headers once, right before they are sent.
func (h Headers) Writer(w http.ResponseWriter) http.ResponseWriter {
	return &headerWriter{ResponseWriterWrapper: caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, add: h}
}

// A headerWriter completes the header of a response.
type headerWriter struct {
	caddyhttp.ResponseWriterWrapper
	add   Headers
	wrote bool // the header has been completed and sent
}

// WriteHeader completes the header before the final status is written. An
// informational status (1xx) precedes it and does not complete the header.
func (a *headerWriter) WriteHeader(status int) {
	if !a.wrote && status >= 200 {
		a.wrote = true
		a.add.complete(a.Header())
	}
	a.ResponseWriterWrapper.WriteHeader(status)
}

// complete adds CORS headers unless the backend sent some, Vary, and Cache-Control:
// private for a request with an identity.
func (a Headers) complete(h http.Header) {
	if a.Origin != "" && h.Get("Access-Control-Allow-Origin") == "" {
		h.Del("Access-Control-Allow-Credentials") // not meant for this origin
		AllowOrigin(h, a.Origin)
	}
	if a.Vary == nil {
		return
	}
	for _, name := range a.Vary {
		AddVary(h, name)
	}
	if a.Private {
		keepPrivate(h)
	}
}

// begun completes and sends the header before the first byte of the body, as net/http
// does for a handler that never calls WriteHeader.
func (a *headerWriter) begun() {
	if !a.wrote {
		a.WriteHeader(http.StatusOK)
	}
}

// Write implements http.ResponseWriter.
func (a *headerWriter) Write(b []byte) (int, error) {
	a.begun()
	return a.ResponseWriterWrapper.Write(b)
}

// ReadFrom completes the header as Write does, and then uses the server's own
// ReadFrom, which can use sendfile.
func (a *headerWriter) ReadFrom(from io.Reader) (int64, error) {
	a.begun()
	return a.ResponseWriterWrapper.ReadFrom(from)
}

// FlushError completes the header before a flush. http.ResponseController looks for
// this method; without it a flush would reach the server's writer and send an
// incomplete header.
func (a *headerWriter) FlushError() error {
	a.begun()
	return http.NewResponseController(a.ResponseWriter).Flush()
}

// AllowOrigin permits a page of the origin to read the response and its
// WWW-Authenticate header, which browsers otherwise hide (Fetch standard, CORS
// protocol).
func AllowOrigin(header http.Header, origin string) {
	header.Set("Access-Control-Allow-Origin", origin)
	header.Set("Access-Control-Expose-Headers", "WWW-Authenticate")
	AddVary(header, "Origin")
}

// AddVary adds a request header on which the response depends to Vary (RFC 9110
// §12.5.5), unless Vary has the name or a `*` already.
func AddVary(h http.Header, name string) {
	for _, value := range h["Vary"] {
		for field := range strings.SplitSeq(value, ",") {
			if field = strings.Trim(field, " \t"); field == "*" || strings.EqualFold(field, name) {
				return
			}
		}
	}
	h.Add("Vary", name)
}

// isForSharedCaches reports whether shared caches prefer a header to Cache-Control:
// the targeted fields of RFC 9213, and older fields of several products.
func isForSharedCaches(name string) bool {
	const cdn = "Cdn-Cache-Control"
	end := name[max(0, len(name)-len(cdn)):]
	return strings.EqualFold(end, cdn) || strings.EqualFold(name, "Surrogate-Control") ||
		strings.EqualFold(name, "X-Accel-Expires") || strings.EqualFold(name, "Edge-Control")
}

// keepPrivate keeps a response out of shared caches. RFC 9111 §3.5 forbids a shared
// cache to store responses to requests with Authorization, but that does not help
// here: the guard removes Authorization before a cache behind it sees the request,
// and a cache in front of it may be told that the response is public.
func keepPrivate(h http.Header) {
	maps.DeleteFunc(h, func(name string, _ []string) bool { return isForSharedCaches(name) })
	if len(h["Cache-Control"]) == 0 { // most responses: there is nothing to parse
		h["Cache-Control"] = []string{"private"}
		return
	}
	kept, private := []string(nil), false
	for _, directive := range cacheDirectives(h["Cache-Control"]) {
		name, _, _ := strings.Cut(strings.ToLower(directive), "=")
		switch {
		case name == "public" || name == "s-maxage":
			continue
		case name == "private" && !strings.EqualFold(directive, "private"):
			continue // applies to some headers only
		}
		private = private || name == "private" || name == "no-store"
		kept = append(kept, directive)
	}
	if !private {
		kept = slices.Insert(kept, 0, "private")
	}
	h["Cache-Control"] = []string{strings.Join(kept, ", ")}
}

// cacheDirectives splits Cache-Control at its commas, but not at those within a
// quoted string (RFC 9110 §5.6.4): private="a, b" is one directive.
func cacheDirectives(values []string) (list []string) {
	text, from, quoted := strings.Join(values, ",")+",", 0, false
	for i := range len(text) {
		switch {
		case text[i] == '"':
			quoted = !quoted
		case text[i] == ',' && (!quoted || i == len(text)-1):
			if directive := strings.Trim(text[from:i], " \t"); directive != "" {
				list = append(list, directive)
			}
			from = i + 1
		}
	}
	return list
}
