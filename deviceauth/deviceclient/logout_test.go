package deviceclient

import (
	"net/http"
	"os"
	"slices"
	"testing"
)

func TestLogoutRevokesAndDeletes(t *testing.T) {
	t.Parallel()
	s, f := newStrict(t, 59), Folder(t.TempDir())
	s.seed(f)
	for _, want := range []Outcome{Revoked, NotLoggedIn} {
		if outcome, err := f.Logout(t.Context(), s.Server, s.options()); err != nil || outcome != want {
			t.Errorf("got %q, %v, want %q", outcome, err, want)
		}
	}
	if want := []string{"refresh_token refresh-1-0 of tv"}; !slices.Equal(s.revoked, want) {
		t.Errorf("revoked %q, want %q", s.revoked, want)
	}
	s.get(f, 2, 0)
}

func TestConfidentialClientLogsInAndOutOfItsOnlyToken(t *testing.T) {
	t.Parallel()
	var form string
	ts := server{
		"/d": func(w http.ResponseWriter, r *http.Request) {
			if r.FormValue("client_secret") != "a b" {
				t.Errorf("asked for a code with %v", r.Form)
			}
			new(strict).authorize(w, r)
		},
		"/t": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Write([]byte(`{"access_token":"only"}`))
		},
		"/r": func(_ http.ResponseWriter, r *http.Request) {
			id, secret, _ := r.BasicAuth()
			form = r.FormValue("token_type_hint") + " " + r.FormValue("token") + " " + id + " " + secret
		},
	}.start(t)
	s, f := Server{DeviceAuthorization: ts.URL + "/d", Token: ts.URL + "/t", Revocation: ts.URL + "/r"},
		Folder(t.TempDir())
	o := Options{HTTP: ts.Client(), ClientID: "tv", ClientSecret: "a b", Show: func(Prompt) {}}
	if _, err := f.Token(t.Context(), s, o); err != nil {
		t.Fatal(err)
	}
	if outcome, err := f.Logout(t.Context(), s, o); err != nil || outcome != Revoked ||
		form != "access_token only tv a+b" {
		t.Errorf("%v, %v, revoked %q", outcome, err, form)
	}
}

func TestLogoutSaysWhereTheServerCannotRevoke(t *testing.T) {
	t.Parallel()
	s, f := newStrict(t, 3600), Folder(t.TempDir())
	s.seed(f)
	s.Revocation = ""
	if outcome, err := f.Logout(t.Context(), s.Server, s.options()); err != nil || outcome != Deleted {
		t.Errorf("got %q, %v", outcome, err)
	}
	s.get(f, 2, 0)
}

func TestLogoutThatFailsKeepsTheToken(t *testing.T) {
	t.Parallel()
	away := server{}.start(t)
	away.Close()
	busy := server{"/r": func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
	}}.start(t)
	for name, endpoint := range map[string]string{"away": away.URL, "busy": busy.URL + "/r"} {
		t.Run(name, func(t *testing.T) {
			s, f := newStrict(t, 3600), Folder(t.TempDir())
			s.seed(f)
			server := s.Server
			server.Revocation = endpoint
			if outcome, err := f.Logout(t.Context(), server, s.options()); err == nil {
				t.Errorf("got %q", outcome)
			}
			s.get(f, 1, 0)
		})
	}
}

func TestLogoutForgetsABrokenFile(t *testing.T) {
	t.Parallel()
	s, f := newStrict(t, 3600), Folder(t.TempDir())
	if err := os.WriteFile(s.file(f), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if outcome, err := f.Logout(t.Context(), s.Server, s.options()); err != nil || outcome != NotLoggedIn {
		t.Errorf("got %q, %v", outcome, err)
	}
	if _, err := os.Stat(s.file(f)); !os.IsNotExist(err) {
		t.Errorf("the file is still there: %v", err)
	}
}
