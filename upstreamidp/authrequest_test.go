package upstreamidp

import (
	"bytes"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/memstore"
	"github.com/deviceauth/caddy-deviceauth/upstreamidp/idptest"
)

// asked begins an attempt, and returns what the provider is asked with.
func asked(t *testing.T, p *Provider, a deviceauth.AuthRequest) (address string, q url.Values) {
	t.Helper()
	to, err := p.Begin(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	return to, u.Query()
}

// attempt goes to the provider and back, and once more where that is what the
// first answer asks for, as package pages does.
func attempt(t *testing.T, idp *idptest.Provider, p *Provider, a deviceauth.AuthRequest) (prompts []string, err error) {
	t.Helper()
	for range 2 {
		to, q := asked(t, p, a)
		prompts = append(prompts, q.Get("prompt"))
		answer, err := idp.Visit(to)
		if err != nil {
			t.Fatal(err)
		}
		_, err = p.Finish(t.Context(), a, answer)
		var again *deviceauth.PromptError
		if !errors.As(err, &again) {
			return prompts, err
		}
		a.Prompt, a.Hint = again.Prompt, again.Hint
	}
	return prompts, errors.New("asked in circles")
}

func revalidating(t *testing.T, change func(*Config)) (*idptest.Provider, *Provider) {
	t.Helper()
	return setUp(t, func(c *Config) {
		c.Revalidate, c.Documents, c.Key = true, memstore.New(), func() [32]byte { return [32]byte{1} }
		if change != nil {
			change(c)
		}
	})
}

// supports are metadata with a list of scopes.
func supports(list ...string) map[string]any { return map[string]any{"scopes_supported": list} }

// refreshTests are the ways in which providers give refresh tokens.
var refreshTests = []struct {
	name    string
	behave  idptest.Behaviour
	change  func(*Config)
	prompts string
	refused bool
}{
	{name: "for offline_access", behave: idptest.Behaviour{}},
	{name: "for offline_access, which is listed",
		behave: idptest.Behaviour{Metadata: supports("openid", "offline_access")}},
	{
		name:   "always, and offline_access is unknown", // GitLab, Cognito
		behave: idptest.Behaviour{Unasked: true, Metadata: supports("openid", "email")},
	},
	{
		name:   "with a consent", // oidc-provider
		behave: idptest.Behaviour{Consent: true}, prompts: ",consent",
	},
	{
		name: "with a consent, at a provider that lists its prompts",
		behave: idptest.Behaviour{Consent: true,
			Metadata: map[string]any{"prompt_values_supported": []string{"login", "consent"}}}, prompts: ",consent",
	},
	{
		name:   "with a consent that the operator has asked for", // Google
		behave: idptest.Behaviour{Consent: true, Unasked: true, Metadata: supports("openid")}, prompts: "consent",
		change: func(c *Config) {
			c.Authorize = []Parameter{{Name: "prompt", Value: "consent"}, {Name: "access_type", Value: "offline"}}
		},
	},
	{
		name: "not at all", behave: idptest.Behaviour{Consent: true,
			Metadata: map[string]any{"prompt_values_supported": []string{"login"}}},
		refused: true,
	},
	{
		name:   "not even with a consent",
		behave: idptest.Behaviour{Unasked: true, Consent: true, Metadata: supports("openid")},
		change: func(c *Config) {
			c.Authorize = []Parameter{{Name: "prompt", Value: "consent "}, {Name: "x", Value: "y"}}
		},
		prompts: "consent",
	},
}

// protocol 23
func TestRefreshTokenIsAskedForAsTheProviderGivesIt(t *testing.T) {
	for _, test := range refreshTests {
		t.Run(test.name, func(t *testing.T) {
			idp, p := revalidating(t, test.change)
			test.behave.Refresh = true
			idp.Behave(test.behave)
			prompts, err := attempt(t, idp, p, begun)
			if got := strings.Join(prompts, ","); got != test.prompts || (err != nil) != test.refused {
				t.Errorf("asked with %q, %v; want %q", got, err, test.prompts)
			}
			if test.refused && (deviceauth.AsError(err) == nil ||
				deviceauth.AsError(err).Code != "sign_in_no_refresh") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A consent is asked for once, and not at every sign-in.
func TestConsentIsAskedForWhereNoRefreshTokenIsKept(t *testing.T) {
	idp, p := revalidating(t, nil)
	idp.Behave(idptest.Behaviour{Refresh: true, Consent: true})
	for i, want := range []string{",consent", "", ""} {
		if prompts, err := attempt(t, idp, p, begun); err != nil || strings.Join(prompts, ",") != want {
			t.Errorf("sign-in %d: asked with %q, %v; want %q", i, prompts, err, want)
		}
	}
	idp.Behave(idptest.Behaviour{}) // gives none whatever it is asked
	idp, p = revalidating(t, nil)
	if prompts, err := attempt(t, idp, p, begun); !errors.Is(err, errNoRefresh) ||
		strings.Join(prompts, ",") != ",consent" {
		t.Errorf("without any: asked with %q, %v", prompts, err)
	}
}

func TestGoogleIsAskedInItsOwnWay(t *testing.T) {
	c := Config{ID: "google", Issuer: google, ClientID: "x", Revalidate: true}
	c.fill()
	if len(c.Authorize) != 1 || c.Authorize[0] != (Parameter{Name: "access_type", Value: "offline"}) {
		t.Errorf("got %v", c.Authorize)
	}
	c = Config{ID: "google", Issuer: google, ClientID: "x", Revalidate: true,
		Authorize: []Parameter{{Name: "access_type", Value: "online"}}}
	if c.fill(); len(c.Authorize) != 1 || c.Authorize[0].Value != "online" {
		t.Errorf("the operator's word is %v", c.Authorize)
	}
}

// protocol 41
func TestAnotherAccountIsAskedForAsTheProviderKnows(t *testing.T) {
	other := begun
	other.SwitchAccount = true
	lists := func(list ...string) map[string]any { return map[string]any{"prompt_values_supported": list} }
	tests := []struct {
		name    string
		behave  idptest.Behaviour
		prompts string
	}{
		{"select_account", idptest.Behaviour{}, "select_account"},
		{"select_account, which is listed", idptest.Behaviour{Metadata: lists("login", "select_account")},
			"select_account"},
		{"login, where select_account is not listed",
			idptest.Behaviour{Metadata: lists("none", "login", "consent")}, "login"},
		{"login, where select_account is an error", idptest.Behaviour{NoSelect: true}, "select_account,login"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			idp, p := setUp(t, nil)
			idp.Behave(test.behave)
			if prompts, err := attempt(t, idp, p, other); err != nil || strings.Join(prompts, ",") != test.prompts {
				t.Errorf("asked with %q, %v; want %q", prompts, err, test.prompts)
			}
		})
	}
	for code, circles := range map[string]string{
		"account_selection_required": "select_account,login", "invalid_configuration": "select_account,login",
		"access_denied": "select_account", "server_error": "select_account",
	} {
		idp, p := setUp(t, nil)
		idp.Behave(idptest.Behaviour{Error: code})
		if prompts, err := attempt(t, idp, p, other); deviceauth.AsError(err) == nil ||
			strings.Join(prompts, ",") != circles {
			t.Errorf("%s: asked with %q, %v", code, prompts, err)
		}
		if prompts, err := attempt(t, idp, p, begun); deviceauth.AsError(err) == nil || len(prompts) != 1 {
			t.Errorf("%s, and nobody asked for another account: asked with %q, %v", code, prompts, err)
		}
	}
}

// A consent is asked for of the account that was chosen, of several that may be
// signed in there; and what the provider refused is not asked for again because
// the operator's own line has it.
//
// protocol 41
func TestSecondRequestIsForTheSameAccount(t *testing.T) {
	idp, p := revalidating(t, nil)
	idp.Behave(idptest.Behaviour{Refresh: true, Consent: true, Claims: map[string]any{"preferred_username": "alice"}})
	other := begun
	other.SwitchAccount = true
	to, _ := asked(t, p, other)
	answer, err := idp.Visit(to)
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Finish(t.Context(), other, answer)
	var again *deviceauth.PromptError
	if !errors.As(err, &again) {
		t.Fatal(err)
	}
	other.Prompt, other.Hint = again.Prompt, again.Hint
	if _, q := asked(t, p, other); q.Get("login_hint") != "alice" || q.Get("prompt") != "select_account consent" {
		t.Errorf("asked with %v", q)
	}
	idp, p = setUp(t, func(c *Config) { c.Authorize = []Parameter{{Name: "prompt", Value: "select_account"}} })
	idp.Behave(idptest.Behaviour{NoSelect: true})
	if prompts, err := attempt(t, idp, p, begun); err != nil || strings.Join(prompts, ",") != "select_account,login" {
		t.Errorf("asked with %q, %v", prompts, err)
	}
}

func TestParametersOfTheOperatorAreSent(t *testing.T) {
	_, p := setUp(t, func(c *Config) {
		c.Authorize = []Parameter{{Name: "access_type", Value: "offline"}, {Name: "prompt", Value: "consent"},
			{Name: "max_age", Value: "3600"},
			{Name: "hd", Value: "example.com & sons"}}
	})
	attempt := begun
	attempt.SwitchAccount = true
	_, q := asked(t, p, attempt)
	for name, want := range map[string]string{"access_type": "offline", "prompt": "consent select_account",
		"max_age": "3600", "hd": "example.com & sons"} {
		if got := q[name]; len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	attempt.FreshSignIn = true
	if _, q := asked(t, p, attempt); q.Get("max_age") != "0" || q.Get("prompt") != "consent login" {
		t.Errorf("a fresh sign-in is asked for with %v", q)
	}
}

func TestParametersThatAreOursAreRefused(t *testing.T) {
	for name, want := range map[string]string{
		"client_id": "option client_id", "scope": "option scopes", "redirect_uri": "itself", "state": "itself",
		"nonce":          "itself",
		"code_challenge": "itself", "code_challenge_method": "itself", "response_type": "itself",
		"response_mode": "itself",
		"request":       "itself", "request_uri": "itself", "": "the name of", "a b": "the name of",
	} {
		c := Config{ID: "work", Issuer: "https://login.example.com", ClientID: "gateway",
			Authorize: []Parameter{{Name: name, Value: "x"}}}
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", name, err, want)
		}
	}
	for want, list := range map[string][]Parameter{
		"want a value": {{"hd", ""}}, "nobody could sign in": {{"prompt", "login none"}},
		"duplicate": {{"hd", "a"}, {"hd", "b"}},
	} {
		c := Config{ID: "work", Issuer: "https://login.example.com", ClientID: "gateway", Authorize: list}
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v, want %q", list, err, want)
		}
	}
}

func TestProviderThatListsNoAuthTimeIsWarnedAbout(t *testing.T) {
	claims := func(list ...string) map[string]any { return map[string]any{"claims_supported": list} }
	for name, test := range map[string]struct {
		fresh    bool
		metadata map[string]any
		warned   bool
	}{
		"it is not listed":         {true, claims("sub", "email"), true},
		"it is listed":             {true, claims("sub", "auth_time"), false},
		"there is no list":         {true, nil, false},
		"no client asks for fresh": {false, claims("sub"), false},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			idp, p := setUp(t, func(c *Config) {
				c.Fresh, c.Log = test.fresh, slog.New(slog.NewTextHandler(&log, nil))
			})
			now := time.Now()
			p.discovery.now = func() time.Time { return now }
			idp.Behave(idptest.Behaviour{Metadata: test.metadata})
			for range 3 {
				asked(t, p, begun)
				now = now.Add(recent)
				if err := p.Reachable(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if n := strings.Count(log.String(), "auth_time"); (n == 1) != test.warned || n > 1 {
				t.Errorf("warned %d times:\n%s", n, log.String())
			}
		})
	}
}
