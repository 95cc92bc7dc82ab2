package guard

import (
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/internal/response"
)

// ReservedHeaders are the names of the headers that only a guard may set, in the
// canonical form that all spellings of a name share.
type ReservedHeaders map[string]bool

// ReservedHeaders returns the names of the identity headers: the default ones, even
// if they were renamed, and those that the operator added.
func (g Options) ReservedHeaders() ReservedHeaders {
	reserved := ReservedHeaders{}
	for _, h := range append(g.identityHeaders(), defaultHeaders...) {
		reserved.Add(h.Name)
	}
	return reserved
}

// Add reserves one more name.
func (o ReservedHeaders) Add(name string) { o[string(canonical(nil, name))] = true }

// Has reports whether a name is reserved, in any spelling.
func (o ReservedHeaders) Has(name string) bool { return o[string(canonical(nil, name))] }

// Names returns the names in alphabetical order.
func (o ReservedHeaders) Names() []string {
	names := make([]string, 0, len(o))
	for name := range o {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// canonical returns the form of a header name that all its spellings share: CGI
// servers pass Remote_User and Remote-User in the same variable (RFC 3875 §4.1.18).
// It appends to a buffer to save allocations, because it is called for every header
// of every request.
func canonical(buf []byte, name string) []byte {
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 'A' && c <= 'Z':
			buf = append(buf, c+'a'-'A')
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
			buf = append(buf, c)
		default:
			buf = append(buf, '-')
		}
	}
	return buf
}

// isSameHeader reports whether two names are spellings of the same header.
func isSameHeader(a, b string) bool { return string(canonical(nil, a)) == string(canonical(nil, b)) }

// Strip removes the reserved headers from a request, in every spelling, and from its
// trailers when they arrive. It keeps a name that is reserved in one of already: an
// earlier guard of the same request has removed the client's header, and the one that
// is there now was set by that guard.
func (o ReservedHeaders) Strip(r *http.Request, already ...ReservedHeaders) {
	o.strip(r.Header, already)
	if r.Trailer != nil { // the values, and with HTTP/1.1 further names, arrive after the body
		trailers := func() { o.strip(r.Trailer, nil); noTrailers.strip(r.Trailer, nil) }
		trailers()
		r.Body = &trailed{ReadCloser: r.Body, ended: trailers}
	}
}

// strip deletes the reserved names from a header, except those in already.
func (o ReservedHeaders) strip(h http.Header, already []ReservedHeaders) {
	var buf [64]byte
	for name := range h {
		spelled := canonical(buf[:0], name)
		known := func(a ReservedHeaders) bool { return a[string(spelled)] }
		if o[string(spelled)] && !slices.ContainsFunc(already, known) {
			delete(h, name)
		}
	}
}

// overrides are headers with which some backends replace the method or path of the
// request line, and so the one for which the guard decided.
var overrides = ReservedHeaders{
	"x-http-method-override": true, "x-http-method": true, "x-method-override": true, "x-method": true,
	"x-original-method": true, "x-rewrite-method": true, "x-override-method": true,
	"x-original-url": true, "x-rewrite-url": true, "x-override-url": true, "x-original-uri": true,
	"x-rewrite-uri": true, "x-original-path": true, "x-arr-original-url": true, "x-script-name": true,
}

// forwarded are headers with the same effect. A trusted proxy in front of the gateway
// may set them, but no client may.
var forwarded = ReservedHeaders{
	"x-forwarded-uri": true, "x-forwarded-path": true, "x-forwarded-prefix": true, "x-forwarded-method": true,
}

// StripOverrides removes headers that would give the request another method or path
// than the one for which the guard decides. trusted means that a trusted proxy sent
// the request.
func StripOverrides(r *http.Request, trusted bool) {
	overrides.strip(r.Header, nil)
	if !trusted {
		forwarded.strip(r.Header, nil)
	}
}

// noTrailers are fields that must not be in a trailer (RFC 9110 §6.5.1): fields for
// authentication, routing and framing. A backend that merges trailers into its
// headers would mistake a client's trailer for a header of the gateway.
var noTrailers = ReservedHeaders{
	"authorization": true, "proxy-authorization": true, "cookie": true, "host": true, "connection": true, "te": true,
	"transfer-encoding": true, "content-length": true, "content-type": true, "content-encoding": true,
	"forwarded": true, "x-forwarded-for": true, "x-forwarded-host": true, "x-forwarded-proto": true, "x-real-ip": true,
}

// A trailed body calls a function, which strips the trailers, before its reader
// learns that the body has ended.
type trailed struct {
	io.ReadCloser
	ended func()
}

// Read implements io.Reader. Any error ends the body, even one that is not io.EOF.
func (t *trailed) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	if err != nil {
		t.ended()
	}
	return n, err
}

// hopOptions are the connection options that are kept. Connection names the headers
// that a proxy removes (RFC 9110 §7.6.1): with any other option a client could make
// the proxy drop what the guard has set.
var hopOptions = map[string]bool{"close": true, "keep-alive": true, "upgrade": true, "te": true, "trailers": true}

// stripConnection keeps only known options in Connection, and of upgrades only that
// of a GET to WebSocket (RFC 6455 §4.1). After an upgrade to HTTP/2, or to another
// protocol that carries requests, further requests would bypass the guard.
func stripConnection(r *http.Request) {
	h, upgrade := r.Header, r.Header["Upgrade"]
	socket := r.Method == http.MethodGet && len(upgrade) == 1 &&
		strings.EqualFold(strings.Trim(upgrade[0], " \t"), "websocket")
	if !socket {
		delete(h, "Upgrade")
	}
	delete(h, "Http2-Settings")
	values, kept := h["Connection"], []string(nil)
	for _, value := range values {
		for option := range strings.SplitSeq(value, ",") {
			option = strings.Trim(option, " \t")
			if hopOptions[strings.ToLower(option)] && (socket || !strings.EqualFold(option, "upgrade")) {
				kept = append(kept, option)
			}
		}
	}
	switch {
	case len(values) == 0:
	case len(kept) == 0:
		delete(h, "Connection")
	default:
		h["Connection"] = []string{strings.Join(kept, ", ")}
	}
}

// StripCookies removes the cookies of the issuer's pages from a request: a backend
// that received them could act as the person. It returns the Cookie header as it was,
// or nil if it had none of those cookies.
func StripCookies(h http.Header) (before []string) {
	values := h["Cookie"]
	if !slices.ContainsFunc(values, func(v string) bool { return strings.Contains(v, "device_") }) {
		return nil
	}
	var kept []string
	for _, value := range values {
		for pair := range strings.SplitSeq(value, ";") {
			if pair = strings.Trim(pair, " \t"); pair != "" && !isOwnCookie(pair) {
				kept = append(kept, pair)
			}
		}
	}
	delete(h, "Cookie")
	if len(kept) > 0 {
		h["Cookie"] = []string{strings.Join(kept, "; ")}
	}
	return values
}

// isOwnCookie reports whether a pair of the Cookie header is a cookie of the pages,
// with or without one of the cookie name prefixes (RFC 6265bis §4.1.3).
func isOwnCookie(pair string) bool {
	name, _, _ := strings.Cut(pair, "=")
	name = strings.Trim(name, " \t")
	name = strings.TrimPrefix(strings.TrimPrefix(name, "__Secure-"), "__Host-")
	whole, _, _ := strings.Cut(name, ".") // a long value is split across several cookies
	return whole == response.SessionCookie || whole == response.FlowCookie ||
		strings.HasPrefix(name, response.SignInCookie)
}
