package caddymodule

import (
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
)

// An answerWriter adds to a backend's answer what the backend, which knows
// nothing of devices, cannot say itself: CORS headers for the page that plays a
// device, and to caches that the answer is for one person.
type answerWriter struct {
	caddyhttp.ResponseWriterWrapper
	origin  string   // of the page that may read the answer; empty: none
	vary    []string // request headers that decide who is let in; none: caches are the backend's business
	private bool     // the answer is for whoever was let in
	wrote   bool
}

// answer returns the writer for a backend's answer, or nil where there is
// nothing to add.
func (g *Guard) answer(tokenGuard *guard.Guard, who *requestIdentity, w http.ResponseWriter, r *http.Request) *answerWriter {
	a := &answerWriter{ResponseWriterWrapper: caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, private: who.id != nil}
	if origin, ok := tokenGuard.Origin(r); ok {
		a.origin = origin
	}
	if g.Cache != "keep" {
		a.vary = []string{g.credentials()}
		if g.Legacy != nil {
			a.vary = append(a.vary, g.Legacy.Header)
		}
		who.private = who.private || a.private
	}
	if a.origin == "" && a.vary == nil {
		return nil
	}
	return a
}

// WriteHeader adds what is to be added before the final status.
func (a *answerWriter) WriteHeader(status int) {
	if !a.wrote && status >= 200 {
		a.wrote = true
		a.complete(a.Header())
	}
	a.ResponseWriterWrapper.WriteHeader(status)
}

func (a *answerWriter) complete(h http.Header) {
	if a.origin != "" && h.Get("Access-Control-Allow-Origin") == "" {
		h.Del("Access-Control-Allow-Credentials") // was said of no origin, and is not meant for this one
		allowOrigin(h, a.origin)
	}
	if a.vary == nil {
		return
	}
	for _, name := range a.vary {
		addVary(h, name)
	}
	if a.private {
		keepPrivate(h)
	}
}

// begun sees to it that the header is complete before anything is sent.
func (a *answerWriter) begun() {
	if !a.wrote {
		a.WriteHeader(http.StatusOK)
	}
}

func (a *answerWriter) Write(b []byte) (int, error) {
	a.begun()
	return a.ResponseWriterWrapper.Write(b)
}

// ReadFrom has what is copied go by Write's way, and on by the server's own.
func (a *answerWriter) ReadFrom(from io.Reader) (int64, error) {
	a.begun()
	return a.ResponseWriterWrapper.ReadFrom(from)
}

// FlushError implements what http.ResponseController looks for.
func (a *answerWriter) FlushError() error {
	a.begun()
	return http.NewResponseController(a.ResponseWriter).Flush()
}

func allowOrigin(header http.Header, origin string) {
	header.Set("Access-Control-Allow-Origin", origin)
	header.Set("Access-Control-Expose-Headers", "WWW-Authenticate")
	addVary(header, "Origin")
}

// addVary names a request header on which the answer depends (RFC 9110 §12.5.5).
func addVary(h http.Header, name string) {
	for _, value := range h["Vary"] {
		for field := range strings.SplitSeq(value, ",") {
			if field = strings.Trim(field, " \t"); field == "*" || strings.EqualFold(field, name) {
				return
			}
		}
	}
	h.Add("Vary", name)
}

// isForSharedCaches reports whether shared caches obey a header before
// Cache-Control: the targeted ones of RFC 9213, and those of several products.
func isForSharedCaches(name string) bool {
	const cdn = "Cdn-Cache-Control"
	end := name[max(0, len(name)-len(cdn)):]
	return strings.EqualFold(end, cdn) || strings.EqualFold(name, "Surrogate-Control") ||
		strings.EqualFold(name, "X-Accel-Expires") || strings.EqualFold(name, "Edge-Control")
}

// keepPrivate keeps an answer out of shared caches. The guard takes
// Authorization off before a cache behind it sees the request, and a cache
// before it may have been told that answers are public; so RFC 9111 §3.5
// protects neither.
func keepPrivate(h http.Header) {
	maps.DeleteFunc(h, func(name string, _ []string) bool { return isForSharedCaches(name) })
	if len(h["Cache-Control"]) == 0 {
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
			continue // says it of some headers alone
		}
		private = private || name == "private" || name == "no-store"
		kept = append(kept, directive)
	}
	if !private {
		kept = slices.Insert(kept, 0, "private")
	}
	h["Cache-Control"] = []string{strings.Join(kept, ", ")}
}

// cacheDirectives splits Cache-Control at the commas that are not in quotes.
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
