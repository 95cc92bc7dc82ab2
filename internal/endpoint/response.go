package endpoint

import (
	"net/http"
	"strconv"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/response"
)

// A Response is the result of a [Func] for one request. A Func never uses the
// http.ResponseWriter: only the [Mux] writes, so that no response is written twice or
// in part.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// NewResponse returns a response with a body; an empty contentType sets no
// Content-Type.
func NewResponse(status int, contentType string, body []byte) *Response {
	r := &Response{Status: status, Header: http.Header{}, Body: body}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r
}

// An Encoder is a JSON document that devices request often and that is encoded
// without reflection. EncodeJSON must return what [response.JSON] would return for
// it.
type Encoder interface{ EncodeJSON() []byte }

// JSON returns the response of an OAuth endpoint, which must not be cached (RFC 6749
// §5.1).
func JSON(status int, v any) *Response {
	var body []byte
	if e, ok := v.(Encoder); ok {
		body = e.EncodeJSON()
	} else {
		body = response.JSON(v)
	}
	return NewResponse(status, "application/json", body).Set("Cache-Control", "no-store")
}

// An OAuthError is the body of an OAuth error response (RFC 6749 §5.2).
type OAuthError struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
	Interval    int    `json:"interval,omitempty"` // with slow_down: the device's new interval in seconds
}

// EncodeJSON implements [Encoder], because every poll of a pending code gets this
// error.
func (e OAuthError) EncodeJSON() []byte {
	o := response.NewObject(64 + len(e.Error) + len(e.Description))
	o.String("error", e.Error)
	o.String("error_description", e.Description)
	if e.Interval != 0 {
		o.Int("interval", e.Interval)
	}
	return o.End()
}

// Redirect returns a response that makes a browser send a GET (RFC 9110 §15.4.4). It
// sends no referrer to the other site, and cuts the page off from the window that
// opened it.
func Redirect(to string) *Response {
	r := NewResponse(http.StatusSeeOther, "", nil)
	r.Set("Location", to).Set("Cache-Control", "no-store").Set("Referrer-Policy", "no-referrer")
	response.Isolate(r.Header)
	return r
}

// methodNotAllowed returns the response of RFC 9110 §15.5.6. Its body lists the
// allowed methods: in an OAuth error at an endpoint for programs, as text otherwise.
func methodNotAllowed(route Route, method string) *Response {
	methods := route.allowed()
	why := deviceauth.Quotable(method) + " is not allowed here; allowed are: " + methods
	r := NewResponse(http.StatusMethodNotAllowed, "text/plain; charset=utf-8", []byte(why+"\n"))
	if route.CORS != NoOrigin { // an endpoint for programs
		r = JSON(http.StatusMethodNotAllowed, OAuthError{Error: "invalid_request", Description: why})
	}
	return r.Set("Allow", methods)
}

// Set sets a header field and returns the response, for chains.
func (r *Response) Set(name, value string) *Response {
	r.Header.Set(name, value)
	return r
}

// AddCookies adds cookies and returns the response, for chains.
func (r *Response) AddCookies(list ...*http.Cookie) *Response {
	for _, c := range list {
		r.Header.Add("Set-Cookie", c.String())
	}
	return r
}

// write sends the response. It adds the header fields to those already set by the
// server, and sends no body for HEAD.
func (r *Response) write(w http.ResponseWriter, to *http.Request) {
	header := w.Header()
	for name, values := range r.Header {
		if before := header[name]; before != nil {
			values = append(before, values...)
		}
		header[name] = values
	}
	if r.Status != http.StatusNoContent && r.Status != http.StatusNotModified {
		header.Set("Content-Length", strconv.Itoa(len(r.Body)))
	}
	w.WriteHeader(r.Status)
	if to.Method != http.MethodHead {
		w.Write(r.Body)
	}
}

// RetryAfter is the Retry-After of a fault, in seconds. It is about the time of a
// store's failover.
const RetryAfter = "5"

// RetryPaused is the Retry-After of a refusal while the operator has paused the
// device login, in seconds.
func RetryPaused() string { return strconv.Itoa(Seconds(deviceauth.RetryPaused)) }

// Seconds rounds up to whole seconds, so that a client that waits for them is never
// early.
func Seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }
