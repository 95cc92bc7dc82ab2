package deviceclient

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// away redirects to the same path elsewhere, with the form.
func away(to string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, to+r.URL.Path, http.StatusTemporaryRedirect)
	}
}

func TestRedirectTakesNoSecretAlong(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, endpoint string
		do             func(*strict, Folder, Options) error
	}{
		{"of a client's secret", "/d",
			func(s *strict, _ Folder, o Options) error { _, err := Login(s.t.Context(), s.Server, o); return err }},
		{"of a device code", "/t", func(s *strict, _ Folder, o Options) error {
			_, err := Login(s.t.Context(), s.Server, o)
			return err
		}},
		{"of a refresh token", "/t", func(s *strict, f Folder, o Options) error {
			_, err := f.Token(s.t.Context(), s.Server, o)
			return err
		}},
		{"of a token that is revoked", "/r",
			func(s *strict, f Folder, o Options) error { _, err := f.Logout(s.t.Context(), s.Server, o); return err }},
	}
	follows := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return nil }}
	for _, test := range tests {
		for name, client := range map[string]*http.Client{"default": nil, "one that follows": follows} {
			t.Run(test.name+", "+name, func(t *testing.T) {
				t.Parallel()
				var requests atomic.Int32
				count := func(http.ResponseWriter, *http.Request) { requests.Add(1) }
				evil := server{"/d": count, "/t": count, "/r": count}.start(t)
				s, f := newStrict(t, 59), Folder(t.TempDir())
				s.seed(f)
				s.answers[test.endpoint] = away(evil.URL)
				o := s.options()
				o.HTTP, o.ClientSecret = client, "secret"
				err := test.do(s, f, o)
				if err == nil || requests.Load() != 0 ||
					!strings.Contains(err.Error(), `redirects to "`+evil.URL+test.endpoint) {
					t.Errorf("%v, and %d requests came to the other origin", err, requests.Load())
				}
			})
		}
	}
}

func TestMetadataAreOfTheOriginThatWasAsked(t *testing.T) {
	t.Parallel()
	const wellKnown = "/.well-known/oauth-authorization-server"
	s, other := server{}, server{}
	ts, elsewhere := s.start(t), other.start(t)
	s["/moved"] = metadata(ts.URL)
	other[wellKnown] = metadata(ts.URL)

	s[wellKnown] = func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/moved", http.StatusFound) }
	if got, err := Discover(t.Context(), nil, ts.URL); err != nil || got.Issuer != ts.URL {
		t.Errorf("within the origin: %+v, %v", got, err)
	}
	s[wellKnown] = away(elsewhere.URL)
	if got, err := Discover(t.Context(), nil, ts.URL); err == nil ||
		!strings.Contains(err.Error(), `redirects to "`+elsewhere.URL) {
		t.Errorf("to another one: %+v, %v", got, err)
	}
}

func TestRedirectsOfMetadataEnd(t *testing.T) {
	t.Parallel()
	s := server{}
	ts := s.start(t)
	s["/.well-known/oauth-authorization-server"] = away("")
	if _, err := Discover(t.Context(), nil, ts.URL); err == nil || !strings.Contains(err.Error(), "again and again") {
		t.Error(err)
	}
}
