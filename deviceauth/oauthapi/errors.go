package oauthapi

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/endpoint"
)

// forbiddenError marks access_denied at the device authorization endpoint: there
// it is about the client's address, and 403.
type forbiddenError struct{ error }

func (f forbiddenError) Unwrap() error { return f.error }

// forbidden marks the refusals that are 403 at the device authorization endpoint.
func forbidden(err error) error {
	if refusal := deviceauth.AsError(err); refusal != nil && refusal.Code == "access_denied" {
		return forbiddenError{error: err}
	}
	return err
}

// oauthError is the response to an error (RFC 6749 §5.2), in the dialect's words. A
// [deviceauth.Error] is a refusal by the protocol, and safe to send. Anything else is a
// fault of this server; it is logged here and nowhere else, and the client hears only
// that it may try again, because nothing was consumed.
func (s *vendorDialect) oauthError(r *http.Request, err error) *endpoint.Response {
	refusal := deviceauth.AsError(err)
	if refusal == nil {
		return s.faultResponse(r, err)
	}
	status := statusOf(err, refusal)
	// Where a product has another status for the same refusal.
	if other, ok := s.status[refusal.Code]; ok {
		status = other
	}
	body := endpoint.OAuthError{Error: s.errorName(err, refusal), Description: refusal.Description}
	// Not in RFC 8628, but some libraries read the interval that slow_down has grown to.
	var hurried *deviceauth.SlowDownError
	if errors.As(err, &hurried) {
		body.Interval = endpoint.Seconds(hurried.Interval)
	}
	a := endpoint.JSON(status, body)
	// The operator has paused the server, for a time that is not known here.
	if status == http.StatusServiceUnavailable {
		a.Set("Retry-After", endpoint.RetryPaused())
	}
	// Too many requests, by any count: RFC 6585 §4 has a status, and a header that says when.
	var throttled *deviceauth.RateLimitError
	if errors.As(err, &throttled) {
		a.Status = http.StatusTooManyRequests
		a.Set("Retry-After", strconv.Itoa(endpoint.Seconds(throttled.RetryAfter)))
	}
	// RFC 6749 §5.2: a client that tried the header is told the scheme.
	if a.Status == http.StatusUnauthorized && r.Header.Get("Authorization") != "" {
		a.Set("WWW-Authenticate", "Basic realm="+strconv.Quote(s.cfg.Engine.Issuer()))
	}
	return a
}

// errorName is the dialect's error code for a refusal; the standard's where the dialect
// has none of its own.
func (s *vendorDialect) errorName(err error, refusal *deviceauth.Error) string {
	// First what is said of device codes alone.
	if other, ok := s.rename[refusal.Code+ofCode]; ok && errors.As(err, new(deviceCodeError)) {
		return other
	}
	if other, ok := s.rename[refusal.Code]; ok {
		return other
	}
	return refusal.Code
}

// faultResponse logs a fault of this server and answers 503 without its details, which
// could name hosts, files or people.
func (h *Handler) faultResponse(r *http.Request, err error) *endpoint.Response {
	h.cfg.Log.Fault(r, "", err)
	body := endpoint.OAuthError{
		Error: "temporarily_unavailable", Description: "the server cannot answer now; try again",
	}
	return endpoint.JSON(http.StatusServiceUnavailable, body).Set("Retry-After", endpoint.RetryAfter)
}

// statusOf is the HTTP status of a refusal in the standard dialect (RFC 6749 §5.2).
func statusOf(err error, refusal *deviceauth.Error) int {
	var denied forbiddenError
	switch {
	case errors.Is(err, errTooLarge):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, errEncoded):
		return http.StatusUnsupportedMediaType
	case refusal.Code == "invalid_client":
		return http.StatusUnauthorized
	case refusal.Code == "not_found":
		return http.StatusNotFound
	case refusal.Code == "temporarily_unavailable":
		return http.StatusServiceUnavailable
	case errors.As(err, &denied):
		return http.StatusForbidden
	}
	return http.StatusBadRequest
}
