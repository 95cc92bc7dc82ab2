package deviceclient

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"
)

// maxCodeResponse is far above the size of any device authorization response.
const maxCodeResponse = 1 << 20

// requestCode sends the device authorization request (RFC 8628 §3.1) and returns the
// response, or the error of the library for a response that is not successful. The
// library's own request does not end with its context, so that neither an interrupt nor a
// timeout ends a slow response, and it panics at the response null.
func (o Options) requestCode(ctx context.Context, s Server) (*oauth2.DeviceAuthResponse, error) {
	form := url.Values{"client_id": {o.ClientID}}
	for name, value := range map[string]string{
		"scope": strings.Join(o.Scopes, " "), "client_secret": o.ClientSecret, "device_name": o.DeviceName,
	} {
		if value != "" {
			form.Set(name, value)
		}
	}
	if name, value := o.resource(s); name != "" {
		form.Set(name, value)
	}
	// The secret is in the form and not in HTTP Basic: there the two would have to be encoded
	// first (RFC 6749 §2.3.1), which servers disagree about.
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.DeviceAuthorization, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	response, err := posting(o.HTTP).Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	// What is beyond the limit makes the JSON invalid.
	body, err := io.ReadAll(io.LimitReader(response.Body, maxCodeResponse))
	if err != nil {
		return nil, err
	}
	if response.StatusCode/100 != 2 {
		return nil, retrieveError(response, body)
	}
	return parseCode(body, time.Now())
}

// parseCode parses a device authorization response (RFC 8628 §3.2). Some servers call the
// page's address verification_url, as drafts of the RFC did.
func parseCode(body []byte, now time.Time) (*oauth2.DeviceAuthResponse, error) {
	var r struct {
		DeviceCode string `json:"device_code"`
		UserCode   string `json:"user_code"`
		URI        string `json:"verification_uri"`
		URL        string `json:"verification_url"`
		Complete   string `json:"verification_uri_complete"`
		ExpiresIn  int64  `json:"expires_in"` // seconds; 0: the server does not say
		Interval   int64  `json:"interval"`   // seconds
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, fmt.Errorf("the device authorization response: %w", err)
	}
	if r.ExpiresIn < 0 || r.ExpiresIn > int64(math.MaxInt64/time.Second) {
		return nil, fmt.Errorf("the server's expires_in is %d s, which is no lifetime of a code", r.ExpiresIn)
	}
	code := &oauth2.DeviceAuthResponse{
		DeviceCode: r.DeviceCode, UserCode: r.UserCode, VerificationURI: cmp.Or(r.URI, r.URL),
		VerificationURIComplete: r.Complete, Interval: r.Interval,
	}
	if r.ExpiresIn > 0 {
		code.Expiry = now.Add(time.Duration(r.ExpiresIn) * time.Second)
	}
	return code, nil
}

// retrieveError is the library's error for a response that is not successful (RFC 6749
// §5.2). Some servers respond with a form instead of JSON.
func retrieveError(response *http.Response, body []byte) *oauth2.RetrieveError {
	e := &oauth2.RetrieveError{Response: response, Body: body}
	var refusal struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if json.Unmarshal(body, &refusal) == nil {
		e.ErrorCode, e.ErrorDescription = refusal.Error, refusal.Description
	} else if form, err := url.ParseQuery(string(body)); err == nil {
		e.ErrorCode, e.ErrorDescription = form.Get("error"), form.Get("error_description")
	}
	return e
}

// retryLater reports whether an error means that the server could not decide now,
// because it was not reached, or is overloaded or unavailable. The code is still valid
// then. after is the pause that the server asks for; 0: it does not say.
func retryLater(err error) (after time.Duration, again bool) {
	var unreached *url.Error
	if errors.As(err, &unreached) {
		return 0, true
	}
	var refusal *oauth2.RetrieveError
	if !errors.As(err, &refusal) {
		return 0, false
	}
	// A proxy in front of the server may respond with these, too, with its own
	// body. slow_down (RFC 8628 §3.5) comes with 400 and is handled by the library.
	switch refusal.Response.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
	default:
		return 0, false
	}
	seconds, err := strconv.Atoi(refusal.Response.Header.Get("Retry-After")) // RFC 9110 §10.2.3
	if err != nil || seconds < 0 || seconds > maxInterval {
		return 0, true
	}
	return time.Duration(seconds) * time.Second, true
}
