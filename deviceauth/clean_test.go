package deviceauth_test

import (
	"slices"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

func TestCleanIsWhatIsSeen(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"alice", "Zoë", "李雷", "alice|1", "a b", "alice@example.com", "👩"} {
		if !text.IsClean(s) || text.Plain(s) != s {
			t.Errorf("%q is refused", s)
		}
	}
	for _, s := range []string{
		"", " ", "alice ", "\talice", "alice\u00a0", "al\u00a0ice", "al\u2003ice", "alice\u2800", "\u2800", "al\x00ice",
		"alice\x7f", "alice\u0085", "ali\u200bce", "\u2066alice", "alice\ufeff",
		"ali\u00adce", "ali\u061cce", "alice\u034f", "alice\ufe0f", "alice\U000e0020", "alice\u2028", "ali\xffce",
		"ali\ufffdce",
	} {
		if text.IsClean(s) {
			t.Errorf("%q is taken", s)
		}
	}
}

// Whatever Plain would change is not clean.
func FuzzClean(f *testing.F) {
	f.Add("alice\u200b")
	f.Add("Zoë ")
	f.Fuzz(func(t *testing.T, s string) {
		if text.IsClean(s) && text.Plain(s) != s {
			t.Errorf("%q becomes %q", s, text.Plain(s))
		}
	})
}

// protocol 33
func TestClaimIsToldAsItIsOrNotAtAll(t *testing.T) {
	t.Parallel()
	claims := deviceauth.Claims{
		"name": " Alice\u200b ", "nickname": "a\x07", "email": "alice@example.com\u200b", "department": "R&D, Europe",
		"site":   "Ulm ",
		"groups": []any{"staff", "x,admins", "admins ", "admins\u200b", "", 7, "ops"}, "roles": "x,root",
		"entitlements": "one",
		"projects":     []any{"a,b"}, "empty": "",
	}
	id := deviceauth.NewIdentity(&deviceauth.Person{Subject: "work|1", User: "Zoë", Claims: claims},
		new(deviceauth.AccessClaims))
	for name, want := range map[string]string{
		"user": "Zoë", "sub": "work|1", "name": " Alice ", "nickname": "a", "email": "",
		"department": "R&D, Europe", "site": "",
		"groups": "staff,ops", "roles": "", "entitlements": "one", "projects": "", "empty": "",
	} {
		if got := id.Claim(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if left := claims.LeftOut(); !slices.Equal(left, []string{"email", "groups", "projects", "roles", "site"}) {
		t.Errorf("left out of %v", left)
	}
}

// unclean are people as a store may have them from before sign-ins refused them.
var unclean = map[string]deviceauth.Person{
	"a character without width": {Subject: "work|alice", User: "alice\u200b"},
	"a space at an end":         {Subject: "work|alice", User: "alice "},
	"in the subject":            {Subject: "work|alice\u200b", User: "alice"},
	"a repaired user":           {Subject: "work|7", User: "alice", Claims: deviceauth.Claims{"nickname": "ali\x07ce"}},
	"a repaired subject":        {Subject: "work|alice\n", User: "alice"},
}

// become replaces the person who approved the device in the store.
func (w *world) become(token deviceauth.Secret, p deviceauth.Person) {
	w.Helper()
	id := w.introspects(true, token).Claims.Grant
	if p.Upstream == "" {
		p.Upstream = "work"
	}
	w.wants("", w.store.Update(w.Context(), id, func(g *deviceauth.Grant) error {
		g.Person = &p
		g.Revision++
		return nil
	}))
}

// protocol 33
func TestPersonInTheStoreWhoIsNotCleanIsRefused(t *testing.T) {
	for name, p := range unclean {
		t.Run(name, func(t *testing.T) {
			in(t, func(w *world) {
				tokens := w.tokens()
				w.become(tokens.AccessToken, p)
				w.wants("invalid_token", w.admit(tokens.AccessToken))
				w.introspects(false, tokens.AccessToken)
				_, err := w.Userinfo(w.Context(), tokens.AccessToken.Reveal())
				w.wants("invalid_token", err)
				_, err = w.refresh(tokens.RefreshToken, "")
				w.wants("invalid_grant", err)
			}, withFarGuard, everybodyAtWork)
			in(t, func(w *world) {
				p.Upstream = "work"
				_, err := w.inspect(&p, w.authorize().UserCode) // with a session from before
				w.wants("not_permitted", err)
			}, everybodyAtWork)
			id := deviceauth.NewIdentity(&p, new(deviceauth.AccessClaims))
			if user, sub := id.Claim("user"), id.Claim("sub"); user != "" || sub != "" {
				t.Errorf("a backend would be told %q, %q", user, sub)
			}
		})
	}
}

func TestMissingPersonIsClean(t *testing.T) {
	t.Parallel()
	// a person with an old API key
	for _, p := range []deviceauth.Person{{}, {Claims: deviceauth.Claims{"name": "\x07"}}} {
		if !p.Clean() {
			t.Errorf("%+v is refused", p)
		}
	}
}

func everybodyAtWork(c *deviceauth.Config) { c.Allow = map[string][]deviceauth.Allow{"work": nil} }

func TestPersonWhoseNameIsOfAnotherScriptIsLetIn(t *testing.T) {
	in(t, func(w *world) {
		tokens := w.tokens()
		claims := deviceauth.Claims{"preferred_username": "Zoë", "name": "Zoë\x07"}
		w.become(tokens.AccessToken, deviceauth.Person{Subject: "work|7", User: "Zoë", Claims: claims})
		w.wants("", w.admit(tokens.AccessToken))
	}, withFarGuard, everybodyAtWork)
}
