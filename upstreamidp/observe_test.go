package upstreamidp

import (
	"errors"
	"net/http"
	"testing"
	"time"
)

type answering func() (*http.Response, error)

func (a answering) RoundTrip(*http.Request) (*http.Response, error) { return a() }

// The kind of request is derived from the request, and the kind of failure from the
// response: an invalid code of one person is no failure of the provider.
func TestRequestsToTheProviderAreObserved(t *testing.T) {
	answered := func(status int) answering {
		return func() (*http.Response, error) { return &http.Response{StatusCode: status}, nil }
	}
	for _, test := range []struct {
		method, path, authorization string
		answer                      answering
		operation                   string
		failed                      bool
	}{
		{"GET", "/a/.well-known/openid-configuration", "", answered(200), "discovery", false},
		{"GET", "/a/.well-known/openid-configuration", "", answered(404), "discovery", true},
		{"GET", "/keys", "", answered(500), "keys", true},
		{"GET", "/userinfo", "Bearer x", answered(401), "userinfo", true},
		{"POST", "/token", "Basic x", answered(400), "token", false},
		{"POST", "/token", "", answered(401), "token", true},
		{"POST", "/token", "", func() (*http.Response, error) { return nil, errors.New("refused") }, "token", true},
	} {
		r, err := http.NewRequest(test.method, "https://login.example"+test.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", test.authorization)
		events := 0
		o := observed{RoundTripper: test.answer, tell: func(operation string, _ time.Duration, failed bool) {
			if events++; operation != test.operation || failed != test.failed {
				t.Errorf("%s %s: %s %v", test.method, test.path, operation, failed)
			}
		}}
		if answer, err := o.RoundTrip(r); err == nil && answer.Body != nil || events != 1 {
			t.Errorf("%s %s: told %d times", test.method, test.path, events)
		}
	}
}
