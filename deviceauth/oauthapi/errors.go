package oauthapi

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/endpoint"
)

// forbiddenError marks an access_denied that is about the address of the client, or the
// page that acts as the client, and is answered with status 403.
type forbiddenError struct{ error }

func (f forbiddenError) Unwrap() error { return f.error }

// forbidden marks the errors that have status 403 at the device authorization
// endpoint.
func forbidden(err error) error {
	if refusal := deviceauth.AsError(err); refusal != nil && refusal.Code == "access_denied" {
		return forbiddenError{error: err}
	}
	return err
}

// oauthError returns the response to an error (RFC 6749 §5.2) in the dialect. A
// [deviceauth.Error] is a refusal by the protocol, and safe to send. Any other error
// is a fault of this server: it is logged here and nowhere else, and the client is
// only told to try again, which is possible because nothing was consumed.
func (s *vendorDialect) oauthError(r *http.Request, err error) *endpoint.Response {
	refusal := deviceauth.AsError(err)
	if refusal == nil {
		return s.faultResponse(r, err)
	}
	status := statusOf(err, refusal)
	// The product may have another status for this refusal.
	if other, ok := s.status[refusal.Code]; ok {
		status = other
	}
	body := endpoint.OAuthError{Error: s.errorName(err, refusal), Description: refusal.Description}
	// Not in RFC 8628, but some libraries read the increased interval of slow_down.
	var hurried *deviceauth.SlowDownError
	if errors.As(err, &hurried) {
		body.Interval = endpoint.Seconds(hurried.Interval)
	}
	a := endpoint.JSON(status, body)
	// The operator has paused the server, for an unknown time.
	if status == http.StatusServiceUnavailable {
		a.Set("Retry-After", endpoint.RetryPaused())
	}
	// Limits of any kind: RFC 6585 §4 defines the status, and a header with the
	// waiting time.
	var throttled *deviceauth.RateLimitError
	if errors.As(err, &throttled) {
		a.Status = http.StatusTooManyRequests
		a.Set("Retry-After", strconv.Itoa(endpoint.Seconds(throttled.RetryAfter)))
	}
	// RFC 6749 §5.2: a client that used the header is told the scheme.
	if a.Status == http.StatusUnauthorized && r.Header.Get("Authorization") != "" {
		a.Set("WWW-Authenticate", "Basic realm="+strconv.Quote(s.cfg.Engine.Issuer()))
	}
	return a
}

// errorName returns the dialect's error code for a refusal, or the standard one if
// the dialect has none.
func (s *vendorDialect) errorName(err error, refusal *deviceauth.Error) string {
	// A name for errors about device codes takes precedence.
	if other, ok := s.rename[refusal.Code+ofCode]; ok && errors.As(err, new(deviceCodeError)) {
		return other
	}
	if other, ok := s.rename[refusal.Code]; ok {
		return other
	}
	return refusal.Code
}

// faultResponse logs a fault of this server and returns a 503 without its details,
// which could name hosts, files or people. If the metadata document of a client
// cannot be fetched, only the client is told why, and nothing is logged.
func (h *Handler) faultResponse(r *http.Request, err error) *endpoint.Response {
	body := endpoint.OAuthError{
		Error: "temporarily_unavailable", Description: "the server cannot answer now; try again",
	}
	if fault, ok := errors.AsType[*deviceauth.DocumentFault](err); ok {
		body.Description = fault.Error()
	} else {
		h.cfg.Log.Fault(r, "", err)
	}
	return endpoint.JSON(http.StatusServiceUnavailable, body).Set("Retry-After", endpoint.RetryAfter)
}

// statusOf returns the HTTP status of a refusal in the standard dialect (RFC 6749
// §5.2).
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
