package httpapi

import (
	"errors"
	"net/http"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/reqbody"
)

var (
	errSlowBody = deviceauth.NewError("invalid_request", "the body did not arrive within 10 s")
	errStopping = deviceauth.NewError("temporarily_unavailable", "the server is about to stop; ask again")
)

// Receive waits for the body of a request that the handler is about to serve,
// for at most 10 s, and answers one that does not arrive: 408, or 503 where the
// server is about to stop; it then returns false. ServeHTTP does it first thing.
// Who holds something while ServeHTTP runs calls Receive before, since a slow
// client is then waited for with empty hands.
func (h *Handler) Receive(w http.ResponseWriter, r *http.Request) bool {
	route, ok := h.route(r.URL.Path)
	if !ok {
		return true // ServeHTTP has nothing to read
	}
	switch err := reqbody.Buffer(w, r, maxBody, h.cfg.Stopping); {
	case err == nil:
		return true
	case errors.Is(err, reqbody.ErrStopping):
		h.tooSlow(route, w, r, errStopping, http.StatusServiceUnavailable)
	default:
		h.tooSlow(route, w, r, errSlowBody, http.StatusRequestTimeout)
	}
	return false
}

// tooSlow answers in the route's own language. The rest of the body may still
// come, so that an HTTP/1 connection is of no further use (RFC 9110 §15.5.9).
func (h *Handler) tooSlow(route route, w http.ResponseWriter, r *http.Request, why error, status int) {
	a := route.fail(r, why)
	a.status = status
	if status == http.StatusServiceUnavailable {
		a.set("Retry-After", retryAfter)
	}
	if r.ProtoMajor == 1 {
		a.set("Connection", "close")
	}
	h.cors(route.cors, w.Header(), r)
	a.write(w, r)
}
