package endpoint

import (
	"errors"
	"net/http"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/reqbody"
)

// MaxBody is the largest body that is read, in bytes. It is far above any request
// of the protocol.
const MaxBody = 64 << 10

var (
	errSlowBody = deviceauth.NewError("invalid_request", "the body did not arrive within 10 s")
	errStopping = deviceauth.NewError("temporarily_unavailable", "the server is about to stop; ask again")
)

// Receive waits for the body of a request that the handler is about to serve,
// for at most 10 s, and answers one that does not arrive: 408, or 503 where the
// server is about to stop; it then returns false. ServeHTTP does it first thing.
// A caller that holds something while ServeHTTP runs calls Receive before, so that
// it holds nothing while a slow client is waited for.
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

// refuseBody answers in the route's own language. The rest of the body may still
// come, so that an HTTP/1 connection is of no further use (RFC 9110 §15.5.9).
func (m *Mux) refuseBody(route Route, w http.ResponseWriter, r *http.Request, why error, status int) {
	a := route.Fail(r, why)
	a.Status = status
	if status == http.StatusServiceUnavailable {
		a.Set("Retry-After", RetryAfter)
	}
	if r.ProtoMajor == 1 {
		a.Set("Connection", "close")
	}
	m.addCORS(route.CORS, w.Header(), r)
	a.write(w, r)
}
