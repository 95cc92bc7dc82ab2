// Package endpoint is how the endpoints and the pages of an issuer are served over
// HTTP in the same way: methods, CORS, bodies that arrive slowly, and one writer of
// responses. It decides neither what is served nor what is said: packages oauthapi
// and pages do.
package endpoint

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// A Func answers a request. Its error is turned into a response by [Route.Fail].
type Func = func(*http.Request) (*Response, error)

// A Route is what one path offers.
type Route struct {
	Methods map[string]Func                      // by method; nil: not offered. HEAD and OPTIONS come by themselves
	CORS    CORS                                 // which other origins may read the responses
	Fail    func(*http.Request, error) *Response // turns an error into a response in the route's own language
}

// allowed lists the methods for an Allow header.
func (route Route) allowed() string {
	var methods []string
	for m, do := range route.Methods {
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

// A Mux serves the routes that Find knows. It is no http.ServeMux, which would
// redirect a request for //oauth2/token to another path, of a POST without its body,
// where a path that is not an endpoint's has to be 404; which reads braces in a path
// of the configuration as wildcards; and which answers a wrong method before the CORS
// headers stand, by which a page may read what is wrong.
type Mux struct {
	Find     func(path string) (Route, bool) // finds what is served at a path
	Stopping func() bool                     // whether the server is about to stop; nil: it never is

	// Ended says whether the configuration of this Mux has ended, as after a reload; nil: it
	// never does. Its server is about to close its connections, so that an HTTP/1 response
	// tells its client to send the next request on another one.
	Ended func() bool

	// AllowsOrigin says whether an origin is one of [ClientOrigins]; nil: none is.
	AllowsOrigin func(ctx context.Context, origin string) bool
}

// Serves reports whether the path is one of this handler's.
func (m *Mux) Serves(path string) bool {
	_, ok := m.Find(path)
	return ok
}

// ServeHTTP answers a request; a path that is not its own is 404.
func (m *Mux) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	route, ok := m.Find(r.URL.Path)
	if !ok {
		http.NotFound(w, r)
		return
	}
	if !m.Receive(w, r) {
		return
	}
	a, err := m.respond(route, r)
	if err != nil {
		a = route.Fail(r, err)
	}
	m.addCORS(route.CORS, w.Header(), r)
	if r.ProtoMajor == 1 && m.Ended != nil && m.Ended() {
		w.Header().Set("Connection", "close")
	}
	a.write(w, r)
}

// respond finds the method. A HEAD is a GET without its body.
func (m *Mux) respond(route Route, r *http.Request) (*Response, error) {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if do := route.Methods[method]; do != nil {
		return do(r)
	}
	if method == http.MethodOptions {
		return m.preflight(route, r), nil
	}
	return methodNotAllowed(route, r.Method), nil
}

// ClientIP returns how the engine sees the client's address; find finds it in a
// request, by default the peer's.
func ClientIP(e *deviceauth.Engine, find func(*http.Request) netip.Addr) func(*http.Request) netip.Addr {
	if find == nil {
		find = peer
	}
	return func(r *http.Request) netip.Addr { return e.Address(find(r)) }
}

// peer is the address of the other end of the connection.
func peer(r *http.Request) netip.Addr {
	addr, _ := netip.ParseAddrPort(r.RemoteAddr)
	return addr.Addr().Unmap()
}

// Origin returns the origin of an issuer: its scheme and host.
func Origin(issuer string) (origin, host string, err error) {
	u, err := url.Parse(issuer)
	if err != nil {
		return "", "", err
	}
	return u.Scheme + "://" + u.Host, u.Host, nil
}
