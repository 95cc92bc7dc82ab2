package endpoint

import (
	"net/http"
	"strconv"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/response"
)

// A Response is what a [Func] returns, made for one request. A Func never touches the
// http.ResponseWriter: only the [Mux] writes, so nothing is written twice or half.
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

// An Encoder is a JSON document that busy devices ask for, and that is encoded
// without reflection. EncodeJSON returns what [response.JSON] returns for it.
type Encoder interface{ EncodeJSON() []byte }

// JSON returns the response of an OAuth endpoint: never cached (RFC 6749 §5.1).
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
	Interval    int    `json:"interval,omitempty"` // of slow_down, in seconds: what it has grown to
}

// EncodeJSON implements [Encoder]: every poll of a pending code gets an error.
func (e OAuthError) EncodeJSON() []byte {
	o := response.NewObject(64 + len(e.Error) + len(e.Description))
	o.String("error", e.Error)
	o.String("error_description", e.Description)
	if e.Interval != 0 {
		o.Int("interval", e.Interval)
	}
	return o.End()
}

// Redirect sends a browser on with a GET (RFC 9110 §15.4.4). No other site is told which
// page it was reached from, and the page that opened the window keeps no hold of it.
func Redirect(to string) *Response {
	r := NewResponse(http.StatusSeeOther, "", nil)
	r.Set("Location", to).Set("Cache-Control", "no-store").Set("Referrer-Policy", "no-referrer")
	response.Isolate(r.Header)
	return r
}

// methodNotAllowed is RFC 9110 §15.5.6. The body says in words which methods there
// are: as an OAuth error at an endpoint for programs, as text on a page.
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

// write sends the response. Its header fields are added to those that the server
// has set already, and a HEAD gets no body.
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

// RetryAfter is the Retry-After of a fault, in seconds: about what a store takes to
// come back.
const RetryAfter = "5"

// RetryPaused is the Retry-After of a refusal while the operator has paused the
// device login, in seconds.
func RetryPaused() string { return strconv.Itoa(Seconds(deviceauth.RetryPaused)) }

// Seconds rounds up to whole seconds, so that a client that keeps to them is never
// early.
func Seconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }
