package httpapi

import (
	"io"
	"net/http"
)

// Owned are the header names that a guard alone may set, spelled the one way
// that all spellings share.
type Owned map[string]bool

// Owned returns the names of the identity headers: the default ones, also
// where they were renamed, and the operator's.
func (g Guard) Owned() Owned {
	owned := Owned{}
	for _, h := range append(g.identityHeaders(), defaultHeaders...) {
		owned[string(canonical(nil, h.Name))] = true
	}
	return owned
}

// canonical spells a header name the one way that all its spellings share:
// servers behind CGI read Remote_User and Remote-User as the same variable. It
// goes to the end of a buffer, because every header of every request is asked
// about.
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

// Strip takes the owned headers off a request, in every spelling, and out of
// its trailers when they are there. It comes before everything else, on every
// path: also before a failure that an error page's backend gets to see.
func (o Owned) Strip(r *http.Request) {
	o.strip(r.Header)
	if r.Trailer != nil { // its values, and with HTTP/1.1 further names, come after the body
		o.strip(r.Trailer)
		r.Body = &trailed{r.Body, func() { o.strip(r.Trailer) }}
	}
}

func (o Owned) strip(h http.Header) {
	var buf [64]byte
	for name := range h {
		if o[string(canonical(buf[:0], name))] {
			delete(h, name)
		}
	}
}

// overrides are how some backends let a request have another method than it
// seems to have.
var overrides = Owned{"x-http-method-override": true, "x-http-method": true, "x-method-override": true}

// StripOverrides keeps a request to the method that it was let through for.
func StripOverrides(r *http.Request) { overrides.strip(r.Header) }

// A trailed body does something with its trailers before anybody knows that it
// has ended.
type trailed struct {
	io.ReadCloser
	ended func()
}

func (t *trailed) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	if err != nil {
		t.ended()
	}
	return n, err
}
