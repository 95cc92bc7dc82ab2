package upstreamidp

import (
	"net/http"
	"strings"
	"time"
)

// The operations for [Config.Observe].
const (
	opDiscovery = "discovery"
	opKeys      = "keys"
	opToken     = "token"
	opUserinfo  = "userinfo"
)

// Operations returns the kinds of requests to a provider. They are label values of
// metrics, so the list is short and fixed.
func Operations() []string { return []string{opDiscovery, opKeys, opToken, opUserinfo} }

// observed reports each request. It is around the bounded transport, so that requests
// which that refuses count as failed.
type observed struct {
	http.RoundTripper
	tell func(operation string, took time.Duration, failed bool)
}

// RoundTrip implements [http.RoundTripper].
func (o observed) RoundTrip(r *http.Request) (*http.Response, error) {
	began, operation := time.Now(), operationOf(r)
	answer, err := o.RoundTripper.RoundTrip(r)
	failed := err != nil || answer.StatusCode >= http.StatusBadRequest
	if operation == opToken && err == nil && answer.StatusCode == http.StatusBadRequest {
		failed = false // mostly invalid_grant, which is about one person (RFC 6749 §5.2)
	}
	o.tell(operation, time.Since(began), failed)
	return answer, err
}

// operationOf returns the operation of a request: of those that are sent to a
// provider, only the token request is a POST, and only userinfo has an access token.
func operationOf(r *http.Request) string {
	switch {
	case r.Method == http.MethodPost:
		return opToken
	case strings.HasPrefix(r.Header.Get("Authorization"), "Bearer "):
		return opUserinfo
	case strings.HasSuffix(r.URL.Path, "/.well-known/openid-configuration"):
		return opDiscovery
	}
	return opKeys
}
