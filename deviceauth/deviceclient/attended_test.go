package deviceclient

import (
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

func TestUnattendedLoginAsksNoPerson(t *testing.T) {
	t.Parallel()
	s, f := newStrict(t, 30), Folder(filepath.Join(t.TempDir(), "folder"))
	options := s.options()
	options.Unattended = true
	if _, err := f.Token(t.Context(), s.Server, options); !errors.Is(err, ErrInteraction) || s.logins != 0 {
		t.Errorf("got %v, after %d logins", err, s.logins)
	}
	s.seed(f)
	if _, err := f.Token(t.Context(), s.Server, options); err != nil || s.logins != 1 || s.refreshes != 1 {
		t.Errorf("a kept token is not refreshed: %v, %d refreshes", err, s.refreshes)
	}
}

// A device sends its name if it is configured, and no name otherwise.
func TestDeviceNameIsSent(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"alice-laptop", ""} {
		var sent []string
		ts := server{"/d": func(w http.ResponseWriter, r *http.Request) {
			r.ParseForm()
			sent = r.PostForm["device_name"]
			refuse(w, http.StatusBadRequest, "invalid_client")
		}}.start(t)
		Login(t.Context(), Server{DeviceAuthorization: ts.URL + "/d"},
			Options{HTTP: ts.Client(), ClientID: "tv", DeviceName: name})
		if got := strings.Join(sent, ","); got != name || len(sent) > 1 || name == "" && sent != nil {
			t.Errorf("sent %q, want %q", sent, name)
		}
	}
}

// A client that trusts an issuer uses one token for all APIs that name this issuer,
// and gets none for an API that names another one.
func TestIssuerIsTrustedWithAllItsAPIs(t *testing.T) {
	t.Parallel()
	metadata := func(issuer string) map[string]any {
		return map[string]any{"issuer": issuer, "device_authorization_endpoint": issuer + "/d",
			"token_endpoint": issuer + "/t"}
	}
	found := server{}
	issuer := found.start(t)
	found["/.well-known/oauth-authorization-server"] = metadata(issuer.URL)
	api := func(issuer string) string {
		s := server{}
		ts := s.start(t)
		s["/.well-known/oauth-protected-resource"] = map[string]any{"resource": ts.URL,
			"authorization_servers": []string{issuer}}
		return ts.URL
	}
	other := server{}
	otherIssuer := other.start(t)
	other["/.well-known/oauth-authorization-server"] = metadata(otherIssuer.URL)
	purposes := map[string]bool{}
	for _, address := range []string{api(issuer.URL), api(issuer.URL), issuer.URL} {
		s, err := DiscoverOf(t.Context(), http.DefaultClient, issuer.URL+"/", address)
		if err != nil || s.warning() != "" || s.secretWarning() != "" {
			t.Fatalf("%s: %v, %q", address, err, s.warning())
		}
		purposes[purposeOf(s, Options{}).name()] = true
	}
	if len(purposes) != 1 {
		t.Errorf("%d tokens are kept for one issuer", len(purposes))
	}
	s, err := Discover(t.Context(), http.DefaultClient, issuer.URL)
	if err != nil || purposes[purposeOf(s, Options{}).name()] {
		t.Errorf("a token for the server alone is one for all its APIs: %v", err)
	}
	strange := api(otherIssuer.URL)
	if _, err := DiscoverOf(t.Context(), http.DefaultClient, issuer.URL, strange); err == nil ||
		!strings.Contains(err.Error(), otherIssuer.URL) {
		t.Errorf("an API that names another issuer: %v", err)
	}
}
