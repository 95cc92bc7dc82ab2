package devicecheck

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/deviceclient"
)

// reports wants one check to report, and every other one to have found nothing
// or not to have been asked for that.
func reports(t *testing.T, all []Result, name string, status Status, mend string) {
	t.Helper()
	seen := false
	for _, got := range all {
		switch {
		case got.Name == name:
			seen = true
			if got.Status != status || !strings.Contains(got.Remedy, mend) || got.Remedy == "" || got.Detail == "" {
				t.Errorf("got %+v, want %s and %q", got, status, mend)
			}
		case got.Status == Skipped && (strings.Contains(got.Detail, name) || strings.Contains(got.Detail, "--login")):
		case got.Status != Pass:
			t.Errorf("also: %+v", got)
		}
	}
	if !seen {
		t.Errorf("%s was not asked: %+v", name, all)
	}
}

func TestNothingIsWrongWithARightDeployment(t *testing.T) {
	t.Parallel()
	for _, client := range []string{"tv", "meter"} {
		s := newStand(t, func(c *deviceauth.Config) { c.Clients[1].Origins = []string{page} })
		c := s.config()
		c.ClientID, c.Login = client, s.answers(true)
		if client == "meter" {
			c.ClientSecret = "s3:cret&"
		}
		var results []Result
		c.Tell = func(r Result) { results = append(results, r) }
		all := Run(t.Context(), c)
		for i, r := range all {
			if r.Status != Pass || r.Remedy != "" || r.Name != Names()[i] {
				t.Errorf("%s: %+v", client, r)
			}
		}
		if len(all) != len(Names()) || !slices.Equal(all, results) {
			t.Errorf("%d results, %d told, want %d", len(all), len(results), len(Names()))
		}
	}
}

func TestNothingIsWrongWithARightServer(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	for _, slash := range []string{"", "/"} {
		c := s.config()
		c.URL = s.URL + slash
		for _, r := range Run(t.Context(), c) {
			own := strings.Contains(r.Detail, "the server's own") && strings.HasPrefix(r.Name, "resource.")
			if r.Status != Pass && !own && !strings.HasPrefix(r.Name, "login.") {
				t.Errorf("%q: %+v", slash, r)
			}
		}
	}
}

func TestIssuerWithAPathIsFound(t *testing.T) {
	t.Parallel()
	s := newStand(t, func(c *deviceauth.Config) { c.Audience = []string{c.Issuer}; c.Issuer += "/auth" })
	for _, path := range []string{"/auth", "/api/things"} {
		c := s.config()
		c.URL = s.URL + path
		for _, r := range Run(t.Context(), c) {
			if r.Status == Fail || r.Status == Warn {
				t.Errorf("%s: %+v", path, r)
			}
		}
	}
}

// Issued tokens are revoked, however the run ends.
func TestTokensAreGivenBackWhenTheRunBreaksOff(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	ctx, interrupt := context.WithCancel(t.Context())
	c := s.config()
	c.Login = s.answers(true)
	c.Tell = func(r Result) {
		if r.Name == "login.flow" {
			interrupt()
		}
	}
	revoked := make(chan int, 10)
	s.tamper = func(q *http.Request, w *httptest.ResponseRecorder) {
		if q.URL.Path == "/oauth2/revoke" {
			revoked <- w.Code
		}
	}
	all := Run(ctx, c)
	if last := all[len(all)-1]; last.Name != "login.flow" || last.Status != Pass {
		t.Errorf("ended with %+v", last)
	}
	if len(revoked) != 2 || <-revoked != 200 || <-revoked != 200 {
		t.Error("the refresh and the access token were not given back")
	}
}

func TestEachUpstreamIsTried(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	all := Run(t.Context(), s.config())
	i := slices.Index(Names(), "page.upstream")
	for _, want := range []string{"upstream work", "upstream home"} {
		if !strings.Contains(all[i].Detail, want) {
			t.Errorf("%s is missing in %+v", want, all[i])
		}
	}
}

func TestDenialIsReported(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	c := s.config()
	c.Login = s.answers(false)
	reports(t, Run(t.Context(), c), "login.flow", Fail, "may not approve")
}

func TestTextOfTheNetworkObeysNoTerminal(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.tamper = func(q *http.Request, w *httptest.ResponseRecorder) {
		if q.URL.Path == "/oauth2/device_authorization" && w.Code == http.StatusOK {
			w.Code = http.StatusBadRequest
			w.Body.Reset()
			w.Body.WriteString(`{"error":"x\u001b[2J\u202e\u009b","error_description":"` +
				strings.Repeat("y", 10000) + `"}`)
		}
	}
	for _, r := range Run(t.Context(), s.config()) {
		if strings.ContainsAny(r.Detail+r.Remedy, "\x1b\u202e\u009b\n") || len(r.Detail) > 1000 {
			t.Errorf("%q", r)
		}
	}
}

func TestLoginShowsTheCode(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	c := s.config()
	var shown deviceclient.Prompt
	c.Login = func(p deviceclient.Prompt) { shown = p; s.answers(true)(p) }
	Run(t.Context(), c)
	if shown.Address != s.URL+"/device" || shown.Code == "" || !strings.Contains(shown.Complete, shown.Code) {
		t.Errorf("shown %+v", shown)
	}
}
