package deviceclient

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestTokenFilesAreTheUsersAlone(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no modes")
	}
	t.Parallel()
	s, f := newStrict(t, 3600), Folder(filepath.Join(t.TempDir(), "folder"))
	os.MkdirAll(string(f), 0o700)
	if err := os.WriteFile(s.file(f)+".new", []byte("half of a tok"), 0o644); err != nil { // by a crash
		t.Fatal(err)
	}
	s.get(f, 1, 0)
	files, err := os.ReadDir(string(f))
	if err != nil || len(files) != 2 { // the token's and the lock's
		t.Errorf("the folder holds %v, %v", files, err)
	}
	for path, want := range map[string]os.FileMode{string(f): 0o700, s.file(f): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want mode %o", path, info.Mode(), err, want)
		}
	}
}

func TestFileThatOthersMayReadIsRefused(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no modes")
	}
	t.Parallel()
	for _, mode := range []os.FileMode{0o640, 0o604, 0o602} {
		s, f := newStrict(t, 3600), Folder(t.TempDir())
		s.seed(f)
		if err := os.Chmod(s.file(f), mode); err != nil {
			t.Fatal(err)
		}
		if token, err := f.Token(t.Context(), s.Server, s.options()); token != nil || err == nil ||
			!strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("%o: got %v, %v", mode, token, err)
		}
		if outcome, err := f.Logout(t.Context(), s.Server, s.options()); err != nil || outcome != Revoked {
			t.Errorf("%o: the logout that was advised: %v, %v", mode, outcome, err)
		}
	}
}

func TestBrokenFileCountsAsAbsentAndSaysSo(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		spoil func(text string) string
	}{
		{"empty", func(string) string { return "" }},
		{"half", func(text string) string { return text[:len(text)/2] }},
		{"no token", func(string) string { return "{}" }},
		{"another server's", func(text string) string {
			return strings.Replace(text, `"issuer": "http`, `"issuer": "https`, 1)
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, f := newStrict(t, 3600), Folder(t.TempDir())
			s.seed(f)
			text, err := os.ReadFile(s.file(f))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(s.file(f), []byte(test.spoil(string(text))), 0o600); err != nil {
				t.Fatal(err)
			}
			var notes []string
			o := s.options()
			o.Note = func(text string) { notes = append(notes, text) }
			if _, err := f.Token(t.Context(), s.Server, o); err != nil || s.logins != 2 || len(notes) != 1 ||
				!strings.Contains(notes[0], "counts as absent") {
				t.Errorf("%v after %d logins, said %q", err, s.logins, notes)
			}
			s.get(f, 2, 0)
		})
	}
}

func TestTokenThatCannotBeWrittenLeavesTheOldOneAndIsNotHandedOut(t *testing.T) {
	t.Parallel()
	s, f := newStrict(t, 3600), Folder(t.TempDir())
	s.seed(f)
	if err := os.MkdirAll(s.file(f)+".new/in the way", 0o700); err != nil {
		t.Fatal(err)
	}
	if token, err := f.Anew(t.Context(), s.Server, s.options()); err == nil || token != nil {
		t.Errorf("got %v, %v", token, err)
	}
	if kept := s.get(f, 2, 0); kept.AccessToken != "access-1-0" {
		t.Errorf("kept is %q", kept.AccessToken)
	}
}

func TestEachPurposeHasAFileOfItsOwn(t *testing.T) {
	t.Parallel()
	base := Server{Issuer: "https://login", API: "https://api"}
	names := map[string]bool{}
	for _, p := range []purpose{
		purposeOf(base, Options{ClientID: "tv"}),
		purposeOf(base, Options{ClientID: "tv", Scopes: []string{"a", "b"}}),
		purposeOf(base, Options{ClientID: "tv", Scopes: []string{"a"}}),
		purposeOf(base, Options{ClientID: "tv", Audience: "https://api"}),
		purposeOf(base, Options{ClientID: "radio"}),
		purposeOf(Server{Issuer: "https://other", API: "https://api"}, Options{ClientID: "tv"}),
		purposeOf(Server{Issuer: "https://login", API: "https://evil"}, Options{ClientID: "tv"}),
	} {
		if names[p.name()] {
			t.Errorf("%+v shares its file", p)
		}
		names[p.name()] = true
	}
	one, other := purposeOf(base, Options{Scopes: []string{"b", "a", "b"}}), purposeOf(base,
		Options{Scopes: []string{"a", "b"}})
	if one.name() != other.name() {
		t.Error("the order of scopes makes a difference")
	}
}
