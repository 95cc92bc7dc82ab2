// Package endpoint serves the endpoints and the pages of an issuer over HTTP:
// methods, CORS, bodies that arrive slowly, and the writing of responses. It does not
// decide which routes exist or what they respond: packages oauthapi and pages do.
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

// A Func answers a request. [Route.Fail] turns its error into a response.
type Func = func(*http.Request) (*Response, error)

// A Route has the handlers of one path.
type Route struct {
	Methods map[string]Func                      // by method; nil: not allowed. HEAD and OPTIONS are handled by Mux
	CORS    CORS                                 // which other origins may read the responses
	Fail    func(*http.Request, error) *Response // turns an error into a response in the route's own format
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

// A Mux serves the routes that Find returns. It is not an http.ServeMux, which would
// redirect a request for //oauth2/token to another path, a POST without its body,
// where a path that is not an endpoint must get 404; which treats braces in a
// configured path as wildcards; and which answers a wrong method before the CORS
// headers are set that let a page read the error.
type Mux struct {
	Find     func(path string) (Route, bool) // returns the route of a path
	Stopping func() bool                     // reports whether the server is about to stop; nil: it never is

	// Ended reports whether the configuration of this Mux has ended, as after a
	// reload; nil: it never does. The server then closes its connections soon, so an
	// HTTP/1 response asks its client to use another connection for the next request.
	Ended func() bool

	// AllowsOrigin reports whether an origin is one of [ClientOrigins]; nil: none is.
	AllowsOrigin func(ctx context.Context, origin string) bool
}

// Serves reports whether the Mux has a route for the path.
func (m *Mux) Serves(path string) bool {
	_, ok := m.Find(path)
	return ok
}

// ServeHTTP answers a request; a path without a route is 404.
func (m *Mux) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	route, ok := m.Find(r.URL.Path)
	if !ok {
		http.NotFound(w, r)
		return
	}
	if !m.Receive(w, r) {
		return
	}
	r = m.markOrigin(route.CORS, r)
	a, err := m.respond(route, r)
	if err != nil {
		a = route.Fail(r, err)
	}
	addCORS(route.CORS, w.Header(), r)
	if r.ProtoMajor == 1 && m.Ended != nil && m.Ended() {
		w.Header().Set("Connection", "close")
	}
	a.write(w, r)
}

// respond calls the Func for the request's method. HEAD is served as GET; write omits
// the body.
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

// ClientIP returns a function that returns the client's address as the engine uses
// it. find returns the address from a request; by default that is the peer of the
// connection.
func ClientIP(e *deviceauth.Engine, find func(*http.Request) netip.Addr) func(*http.Request) netip.Addr {
	if find == nil {
		find = peer
	}
	return func(r *http.Request) netip.Addr { return e.Address(find(r)) }
}

// peer returns the address of the other end of the connection.
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
