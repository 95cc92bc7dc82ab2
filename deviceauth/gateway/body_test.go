package gateway_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/gateway"
	"github.com/deviceauth/caddy-deviceauth/internal/gatewaytest"
)

// A drip is a body that gives a byte every second, for as long as it is read.
type drip struct{}

func (drip) Read(p []byte) (int, error) {
	time.Sleep(time.Second)
	p[0] = 'a'
	return 1, nil
}

// protocol 4
func TestSlowBodyIsAnsweredWhereverOneIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := gatewaytest.New(t)
		for _, test := range []struct {
			method, path string
			json         bool
		}{
			{"POST", "/oauth2/device_authorization", true},
			{"POST", "/oauth2/token", true},
			{"POST", "/oauth2/revoke", true},
			{"POST", "/oauth2/introspect", true},
			{"POST", "/oauth2/userinfo", true},
			{"POST", "/oauth/token", true}, // of a dialect
			{"POST", "/device/backchannel-logout", true},
			{"POST", "/device", false},
			{"POST", "/device/confirm", false},
			{"POST", "/device/connections", false},
			{"POST", "/device/connections/name", false},
			{"POST", "/device/sign-out", false},
			{"GET", "/device", false}, // no handler reads it, but net/http would
		} {
			r := httptest.NewRequest(test.method, test.path, io.NopCloser(drip{}))
			r.Header.Set("Content-Type", gatewaytest.Form)
			since := time.Now()
			w := s.Do(r)
			if took := time.Since(since); w.Code != http.StatusRequestTimeout || took > 11*time.Second {
				t.Errorf("%s %s: %d after %v", test.method, test.path, w.Code, took)
			}
			if w.Header().Get("Connection") != "close" || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%s %s: header %v", test.method, test.path, w.Header())
			}
			var refusal struct {
				Error       string `json:"error"`
				Description string `json:"error_description"`
			}
			err := json.Unmarshal(w.Body.Bytes(), &refusal)
			right := err == nil && refusal.Error == "invalid_request" &&
				strings.Contains(refusal.Description, "within 10 s")
			if test.json && !right {
				t.Errorf("%s %s: %s", test.method, test.path, w.Body)
			}
			if !test.json && !strings.Contains(w.Body.String(), "<h1>") {
				t.Errorf("%s %s: %s", test.method, test.path, w.Body)
			}
		}
	})
}

// protocol 4
func TestServerThatIsAboutToStopDoesNotWaitForBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := gatewaytest.New(t)
		s.Reconfigure(func(c *gateway.HandlerConfig) { c.Stopping = func() bool { return true } })
		r := httptest.NewRequest("POST", "/oauth2/token", io.NopCloser(drip{}))
		since := time.Now()
		w := s.Do(r)
		took, again := time.Since(since), w.Header().Get("Retry-After")
		if w.Code != http.StatusServiceUnavailable || again == "" || took > 2*time.Second {
			t.Errorf("%d after %v: %v", w.Code, took, w.Header())
		}
		if !strings.Contains(w.Body.String(), "temporarily_unavailable") {
			t.Errorf("it says %s", w.Body)
		}
	})
}
