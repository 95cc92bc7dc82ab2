package deviceclient

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestOnlyThisMachineNamesThisMachine(t *testing.T) {
	t.Parallel()
	const far, near = "https://api.example.com", "http://localhost:8080"
	tests := []struct {
		from, to string
		ok       bool
	}{
		{far, "https://login.example.com/t", true},
		{far, "http://login.example.com/t", false},
		{far, "http://localhost:2019/stop", false},
		{far, "https://localhost/", false},
		{far, "https://LOCALHOST./", false},
		{far, "https://admin.localhost/", false},
		{far, "http://127.0.0.1:2019/", false},
		{far, "https://127.1.2.3/", false},
		{far, "http://[::1]:2019/", false},
		{far, "https://[::ffff:127.0.0.1]/", false},
		{far, "https://0.0.0.0/", false},
		{far, "https://[::]/", false},
		{far, "https://me:hush@login.example.com/", false},
		{far, "ftp://login.example.com/", false},
		{far, "https:", false},
		{near, "http://localhost:2019/", true},
		{near, "http://127.0.0.1:2019/", true},
		{near, "https://[::1]/", true},
		{near, "https://login.example.com/", true},
		{near, "http://login.example.com/", false},
	}
	for _, test := range tests {
		from, _ := url.Parse(test.from)
		to, err := url.Parse(test.to)
		if err != nil {
			t.Fatal(err)
		}
		if got := MayLead(from, to); got != test.ok {
			t.Errorf("from %s to %s: %v", from, to, got)
		}
	}
}

func TestMetadataOfAServerElsewhereNameNothingOnThisMachine(t *testing.T) {
	t.Parallel()
	const issuer, here = "https://login.example.com", "http://127.0.0.1:2019/stop"
	good := Server{Issuer: issuer, DeviceAuthorization: issuer + "/d", Token: issuer + "/t", Revocation: issuer + "/r"}
	if err := good.check(issuer); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Server){
		"device_authorization_endpoint": func(s *Server) { s.DeviceAuthorization = here },
		"token_endpoint":                func(s *Server) { s.Token = here },
		"revocation_endpoint":           func(s *Server) { s.Revocation = here },
	} {
		bad := good
		change(&bad)
		if err := bad.check(issuer); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	api, _ := url.Parse("https://api.example.com")
	described := resource{Resource: api.String(), Servers: []string{"http://localhost:2019"}}
	if err := described.check("https://metadata", api); err == nil ||
		!strings.Contains(err.Error(), "on this machine") {
		t.Error(err)
	}
}

// A secret that was sent cannot be taken back, so the person is told first where it
// goes.
func TestSecretIsAnnouncedBeforeItIsSent(t *testing.T) {
	t.Parallel()
	for secret, announced := range map[string]bool{"": false, "hush": true} {
		s := newStrict(t, 3600)
		shown, before := "", ""
		o := s.options()
		o.ClientSecret = secret
		o.Note = func(text string) { shown += text }
		s.answers["/d"] = func(w http.ResponseWriter, r *http.Request) { before = shown; s.authorize(w, r) }
		if _, err := Login(t.Context(), s.Server, o); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(before, "names the server "+s.Issuer+": the client's secret is sent there") != announced {
			t.Errorf("with the secret %q, told %q before", secret, before)
		}
	}
}

func TestPasswordOfAURLIsNotRepeated(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"https://me:hush@api.example.com", "https://me:hush/@api.example.com",
		"me:hush@api.example.com"} {
		if _, err := Discover(t.Context(), nil, address); err == nil || strings.Contains(err.Error(), "hush") {
			t.Error(err)
		}
	}
}
