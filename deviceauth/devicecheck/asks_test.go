package devicecheck

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
)

// result returns what a check found.
func result(t *testing.T, c Config, name string) Result {
	t.Helper()
	for _, r := range Run(t.Context(), c) {
		if r.Name == name {
			return r
		}
	}
	t.Fatalf("%s was not asked", name)
	return Result{}
}

// A code is asked for as a device of this API would: for the API by its own name,
// with the scopes that it needs.
func TestCheckAsksForWhatTheAPINeeds(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*deviceauth.Config)
		named  string // what the API calls itself, whatever the server says; empty: what it does
		want   Status
		mend   string
	}{
		{"the second of two audiences",
			func(c *deviceauth.Config) { c.Audience = []string{"https://other.example", c.Issuer} }, "", Pass, ""},
		{"a scope that the client may not have", func(c *deviceauth.Config) {
			c.Clients[0].Scope = "openid offline_access"
		}, "", Fail, "The API needs: read"},
		{"a name that the server does not know", func(c *deviceauth.Config) { c.Audience = []string{c.Issuer + "/v2"} },
			"/api", Fail, "audience"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t, test.change)
			s.tamper = func(q *http.Request, w *httptest.ResponseRecorder) {
				if test.named != "" && strings.HasPrefix(q.URL.Path, guard.ResourceMetadataPath) {
					w.Code = http.StatusOK
					members(w, func(v map[string]any) {
						v["resource"], v["authorization_servers"] = s.URL+test.named, []string{s.URL}
					})
				}
			}
			if got := result(t, s.config(), "device.code"); got.Status != test.want ||
				!strings.Contains(got.Remedy, test.mend) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestCheckLogsInForTheSecondOfTwoAudiences(t *testing.T) {
	t.Parallel()
	s := newStand(t, func(c *deviceauth.Config) { c.Audience = []string{"https://other.example", c.Issuer} })
	s.guard = guard.New(guard.Options{Need: deviceauth.Requirement{Scope: "read", Audience: []string{s.URL}}}, s.engine)
	c := s.config()
	c.Login = s.answers(true)
	if got := result(t, c, "login.api"); got.Status != Pass {
		t.Errorf("got %+v", got)
	}
}

// An API that no audience covers is reported, and its server is found all the same.
func TestCheckSaysThatNoAudienceCoversTheAPI(t *testing.T) {
	t.Parallel()
	s := newStand(t, func(c *deviceauth.Config) { c.Audience = []string{"https://other.example"} })
	if got := result(t, s.config(), "resource.metadata"); got.Status != Warn ||
		!strings.Contains(got.Remedy, "audience "+s.URL) {
		t.Errorf("got %+v", got)
	}
	if got := result(t, s.config(), "device.code"); got.Status != Pass {
		t.Errorf("got %+v", got)
	}
}
