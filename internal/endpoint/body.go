package endpoint

import (
	"errors"
	"net/http"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/reqbody"
)

// MaxBody is the largest body that is read, in bytes. Every request of the protocol
// is far smaller.
const MaxBody = 64 << 10

var (
	errSlowBody = deviceauth.NewError("invalid_request", "the body did not arrive within 10 s")
	errStopping = deviceauth.NewError("temporarily_unavailable", "the server is about to stop; ask again")
)

// Receive waits up to 10 s for the body of a request. If the body does not arrive,
// Receive answers 408, or 503 if the server is about to stop, and returns false.
// ServeHTTP calls it first. A caller that holds a lock or another resource while
// ServeHTTP runs calls Receive before it takes the resource, so that a slow client
// does not hold it.
func (m *Mux) Receive(w http.ResponseWriter, r *http.Request) bool {
	route, ok := m.Find(r.URL.Path)
	if !ok {
		return true // ServeHTTP has nothing to read
	}
	switch err := reqbody.Buffer(w, r, MaxBody, m.Stopping); {
	case err == nil:
		return true
	case errors.Is(err, reqbody.ErrStopping):
		m.refuseBody(route, w, r, errStopping, http.StatusServiceUnavailable)
	default:
		m.refuseBody(route, w, r, errSlowBody, http.StatusRequestTimeout)
	}
	return false
}

// refuseBody writes the error in the route's own format. It closes an HTTP/1
// connection, because the rest of the body may still arrive on it (RFC 9110 §15.5.9).
func (m *Mux) refuseBody(route Route, w http.ResponseWriter, r *http.Request, why error, status int) {
	a := route.Fail(r, why)
	a.Status = status
	if status == http.StatusServiceUnavailable {
		a.Set("Retry-After", RetryAfter)
	}
	if r.ProtoMajor == 1 {
		a.Set("Connection", "close")
	}
	addCORS(route.CORS, w.Header(), m.markOrigin(route.CORS, r))
	a.write(w, r)
}
