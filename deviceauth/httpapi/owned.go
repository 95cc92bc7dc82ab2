package httpapi

import (
	"net/http"
	"strings"
)

// Owned are the header names that a guard alone may set, spelled the one way
// that all spellings share.
type Owned map[string]bool

// Owned returns the names of the identity headers: the default ones, also
// where they were renamed, and the operator's.
func (g Guard) Owned() Owned {
	owned := Owned{}
	for _, h := range append(g.identityHeaders(), defaultHeaders...) {
		owned[canonical(h.Name)] = true
	}
	return owned
}

// canonical spells a header name the one way that all its spellings share:
// servers behind CGI read Remote_User and Remote-User as the same variable.
func canonical(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			return r
		}
		return '-'
	}, name)
}

// Strip takes the owned headers off a request, in every spelling, and out of
// its trailers. It comes before everything else, on every path: also before a
// failure that an error page's backend gets to see.
func (o Owned) Strip(r *http.Request) {
	for _, h := range []http.Header{r.Header, r.Trailer} {
		for name := range h {
			if o[canonical(name)] {
				delete(h, name)
			}
		}
	}
}
