package deviceclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"
)

// A strict server rotates refresh tokens and takes each of them once. Its
// person says yes at once.
type strict struct {
	Server
	t                 *testing.T
	answers           server
	lifetime          int                                      // of access tokens, in seconds
	trouble           func(http.ResponseWriter, *http.Request) // instead of a refresh; may be nil
	mu                sync.Mutex
	logins, refreshes int
	current           string   // the refresh token that is good
	revoked           []string // as they were given back
}

func newStrict(t *testing.T, lifetime int) *strict {
	s := &strict{t: t, lifetime: lifetime}
	s.answers = server{"/d": s.authorize, "/t": s.token, "/r": s.revoke}
	ts := s.answers.start(t)
	s.Server = Server{Issuer: ts.URL, DeviceAuthorization: ts.URL + "/d", Token: ts.URL + "/t",
		Revocation: ts.URL + "/r", API: "https://api.example.com"}
	return s
}

func (s *strict) authorize(w http.ResponseWriter, r *http.Request) {
	json.NewEncoder(w).Encode(map[string]any{"device_code": "d", "user_code": "U", "verification_uri": "https://v",
		"interval": 1, "expires_in": 60})
}

func (s *strict) token(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	answer := map[string]any{"token_type": "Bearer", "expires_in": s.lifetime}
	switch {
	case r.FormValue("grant_type") != "refresh_token":
		s.logins++
		answer["scope"] = "read"
	case s.trouble != nil:
		s.trouble(w, r)
		return
	case r.FormValue("refresh_token") != s.current:
		refuse(w, http.StatusBadRequest, "invalid_grant")
		return
	default:
		s.refreshes++
	}
	s.current = fmt.Sprintf("refresh-%d-%d", s.logins, s.refreshes)
	answer["access_token"], answer["refresh_token"] = "access-"+s.current, s.current
	json.NewEncoder(w).Encode(answer)
}

// hinder lets refreshes be answered in another way; nil ends that.
func (s *strict) hinder(trouble func(http.ResponseWriter, *http.Request)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble = trouble
}

func (s *strict) revoke(w http.ResponseWriter, r *http.Request) {
	s.revoked = append(s.revoked, r.FormValue("token_type_hint")+" "+r.FormValue("token")+" of "+
		r.FormValue("client_id"))
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"error":%q}`, code)
}

func (s *strict) options() Options {
	return Options{HTTP: http.DefaultClient, ClientID: "tv", Scopes: []string{"read"}, Show: func(Prompt) {},
		Note: func(text string) { s.t.Log(text) }}
}

// seed lets a folder keep what a login gave before.
func (s *strict) seed(f Folder) *oauth2.Token {
	s.t.Helper()
	s.logins, s.current = 1, "refresh-1-0"
	token := &oauth2.Token{
		AccessToken: "access-1-0", RefreshToken: s.current,
		Expiry: time.Now().Add(time.Duration(s.lifetime) * time.Second),
	}
	p, err := f.open(s.t.Context(), s.Server, s.options())
	if err != nil {
		s.t.Fatal(err)
	}
	defer p.close()
	if err := p.save(token.WithExtra(map[string]any{"scope": "read"})); err != nil {
		s.t.Fatal(err)
	}
	return token
}

// get wants a token, and that so many people were asked and so many refreshes made.
func (s *strict) get(f Folder, logins, refreshes int) *oauth2.Token {
	s.t.Helper()
	token, err := f.Token(s.t.Context(), s.Server, s.options())
	if err != nil {
		s.t.Fatal(err)
	}
	if s.logins != logins || s.refreshes != refreshes {
		s.t.Fatalf("%d logins and %d refreshes, want %d and %d", s.logins, s.refreshes, logins, refreshes)
	}
	return token
}

// file is the one token that a folder keeps.
func (s *strict) file(f Folder) string {
	return filepath.Join(string(f), purposeOf(s.Server, s.options()).name())
}

func TestKeptTokenIsHandedOutWithoutAPerson(t *testing.T) {
	t.Parallel()
	s, f := newStrict(t, 120), Folder(filepath.Join(t.TempDir(), "new", "folder"))
	first := s.get(f, 1, 0)
	again := s.get(f, 1, 0)
	if again.AccessToken != first.AccessToken || again.RefreshToken != first.RefreshToken ||
		extra(again, "scope") != "read" || again.Expiry.IsZero() {
		t.Errorf("got %+v, want %+v", again, first)
	}
}

func TestTokenThatEndsWithinAMinuteIsRefreshed(t *testing.T) {
	t.Parallel()
	s, f := newStrict(t, 59), Folder(t.TempDir())
	s.seed(f)
	s.get(f, 1, 1)
	if last := s.get(f, 1, 2); last.RefreshToken != s.current || extra(last, "scope") != "read" {
		t.Errorf("got %+v, want %q, and the scope as it was", last, s.current)
	}
}

func TestTokenThatEndsSoonerThanIsWantedIsRefreshed(t *testing.T) {
	t.Parallel()
	s, f := newStrict(t, 120), Folder(t.TempDir())
	s.seed(f)
	for _, test := range []struct {
		validFor  time.Duration
		refreshes int
	}{{0, 0}, {-time.Hour, 0}, {100 * time.Second, 0}, {3 * time.Minute, 1}, {3 * time.Minute, 2}} {
		o := s.options()
		o.ValidFor = test.validFor
		if _, err := f.Token(t.Context(), s.Server, o); err != nil || s.logins != 1 || s.refreshes != test.refreshes {
			t.Errorf("%v: %d logins and %d refreshes, %v", test.validFor, s.logins, s.refreshes, err)
		}
	}
	s.answers["/t"] = func(w http.ResponseWriter, _ *http.Request) {
		t.Error("a person is asked")
		refuse(w, http.StatusBadRequest, "invalid_grant")
	}
	p, err := f.open(t.Context(), s.Server, s.options())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.save(&oauth2.Token{AccessToken: "a", Expiry: time.Now().Add(2 * time.Minute)}); err != nil {
		t.Fatal(err)
	}
	p.close()
	o := s.options()
	o.ValidFor = time.Hour
	if token, err := f.Token(t.Context(), s.Server, o); err != nil || token.AccessToken != "a" {
		t.Errorf("of a token that cannot be refreshed: %+v, %v", token, err)
	}
}

func TestRefreshTokenThatDoesNotRotateIsKept(t *testing.T) {
	t.Parallel()
	s, f := newStrict(t, 59), Folder(t.TempDir())
	first := s.seed(f)
	s.trouble = func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte(`{"access_token":"new","expires_in":59}`))
	}
	if got := s.get(f, 1, 0); got.AccessToken != "new" || got.RefreshToken != first.RefreshToken {
		t.Errorf("got %+v", got)
	}
	s.hinder(nil)
	s.get(f, 1, 1)
}

func TestPersonIsAskedWhereTheServerRefusesTheRefresh(t *testing.T) {
	t.Parallel()
	s, f := newStrict(t, 59), Folder(t.TempDir())
	s.seed(f)
	s.current = "another"
	s.get(f, 2, 0)
	s.get(f, 2, 1)
}

func TestRefreshThatFailsShowsNoPromptAndKeepsTheToken(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		trouble func(http.ResponseWriter, *http.Request)
	}{
		{"connection broken", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
		{"server error", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }},
		{"client refused", func(w http.ResponseWriter, _ *http.Request) {
			refuse(w, http.StatusUnauthorized, "invalid_client")
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, f := newStrict(t, 59), Folder(t.TempDir())
			s.seed(f)
			s.hinder(test.trouble)
			token, err := f.Token(t.Context(), s.Server, s.options())
			if err == nil || token != nil || errors.Is(err, ErrExpired) || s.logins != 1 {
				t.Errorf("got %v, %v after %d logins", token, err, s.logins)
			}
			s.hinder(nil)
			s.get(f, 1, 1)
		})
	}
}

func TestInterruptLosesNoRefresh(t *testing.T) {
	t.Parallel()
	s, f := newStrict(t, 59), Folder(t.TempDir())
	s.seed(f)
	ctx, interrupt := context.WithCancel(t.Context())
	s.hinder(func(w http.ResponseWriter, _ *http.Request) {
		interrupt()
		time.Sleep(50 * time.Millisecond) // a client that gives up has done so by then
		s.current = "rotated"
		w.Write([]byte(`{"access_token":"a","refresh_token":"rotated","expires_in":59}`))
	})
	if _, err := f.Token(ctx, s.Server, s.options()); err != nil {
		t.Error(err)
	}
	s.hinder(nil)
	s.get(f, 1, 1)
}

func TestTokensOfOneFolderAtOnceSpendARefreshTokenOnce(t *testing.T) {
	t.Parallel()
	s, f := newStrict(t, 59), Folder(t.TempDir())
	s.seed(f)
	s.lifetime = 3600
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if token, err := f.Token(t.Context(), s.Server, s.options()); err != nil ||
				token.RefreshToken != "refresh-1-1" {
				t.Errorf("got %+v, %v", token, err)
			}
		})
	}
	all.Wait()
	s.get(f, 1, 1)
}

func TestAnewReplacesWhatIsKept(t *testing.T) {
	t.Parallel()
	s, f := newStrict(t, 3600), Folder(t.TempDir())
	s.seed(f)
	token, err := f.Anew(t.Context(), s.Server, s.options())
	if err != nil || s.logins != 2 {
		t.Fatalf("%v after %d logins", err, s.logins)
	}
	if kept := s.get(f, 2, 0); kept.AccessToken != token.AccessToken {
		t.Errorf("kept %q, want %q", kept.AccessToken, token.AccessToken)
	}
}

func TestDeniedLoginLeavesWhatIsKept(t *testing.T) {
	t.Parallel()
	s, f := newStrict(t, 3600), Folder(t.TempDir())
	s.seed(f)
	denying := server{"/t": func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, http.StatusBadRequest, "access_denied")
	}}.start(t)
	other := s.Server
	other.Token = denying.URL + "/t"
	if _, err := f.Anew(t.Context(), other, s.options()); !errors.Is(err, ErrDenied) {
		t.Errorf("got %v", err)
	}
	s.get(f, 1, 0)
}
