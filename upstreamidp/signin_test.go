package upstreamidp

import (
	"maps"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/upstreamidp/idptest"
)

var begun = deviceauth.AuthRequest{State: "state", Nonce: "nonce", Verifier: strings.Repeat("verifier", 6),
	RedirectURI: "https://api.example.com/device/callback"}

func setUp(t *testing.T, change func(*Config)) (*idptest.Provider, *Provider) {
	t.Helper()
	idp := idptest.Start()
	t.Cleanup(idp.Close)
	c := Config{ID: "work", Issuer: idp.URL, ClientID: idptest.ClientID, ClientSecret: idptest.ClientSecret}
	if change != nil {
		change(&c)
	}
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return idp, p
}

// visit goes to the provider, and returns what the browser brings back.
func visit(t *testing.T, idp *idptest.Provider, p *Provider) url.Values {
	t.Helper()
	to, err := p.Begin(t.Context(), begun)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := idp.Visit(to)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// signIn goes to the provider and back.
func signIn(t *testing.T, idp *idptest.Provider, p *Provider, b idptest.Behaviour) (*deviceauth.Person, error) {
	t.Helper()
	idp.Behave(b)
	return p.Finish(t.Context(), begun, visit(t, idp, p))
}

// protocol 37
func TestBeginAsksWithStateNonceAndPKCE(t *testing.T) {
	_, p := setUp(t, func(c *Config) { c.Scopes = []string{"email"} })
	attempt := begun
	attempt.SwitchAccount = true
	to, err := p.Begin(t.Context(), attempt)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"state": "state", "nonce": "nonce", "code_challenge_method": "S256", "response_type": "code",
		"client_id": idptest.ClientID,
		"scope":     "openid email", "prompt": "select_account", "redirect_uri": begun.RedirectURI,
	} {
		if got := u.Query().Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if strings.Contains(to, begun.Verifier) {
		t.Error("the verifier is in the address")
	}
	if to, _ := p.Begin(t.Context(), begun); strings.Contains(to, "prompt=") {
		t.Error("a person who did not ask for another account is asked to select one")
	}
}

// protocol 32, 37
func TestFinishAcceptsWhatIsRight(t *testing.T) {
	tests := []struct {
		name   string
		behave idptest.Behaviour
	}{
		{"an ID token alone", idptest.Behaviour{}},
		{"several audiences, and ours the party",
			idptest.Behaviour{Claims: map[string]any{"aud": []string{idptest.ClientID, "x"}, "azp": idptest.ClientID}}},
		{"the access token's hash", idptest.Behaviour{HashesAt: true}},
		{"the provider's name with the answer", idptest.Behaviour{TellsIss: true}},
		{"a client that proves itself in the body", idptest.Behaviour{PostOnly: true}},
		{"a clock that is ahead of the provider's",
			idptest.Behaviour{Claims: map[string]any{"exp": time.Now().Add(20*time.Second - skew).Unix()}}},
		{"a subject as long as can be", idptest.Behaviour{Claims: map[string]any{"sub": strings.Repeat("1", 255)}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			idp, p := setUp(t, nil)
			if _, err := signIn(t, idp, p, test.behave); err != nil {
				t.Error(err)
			}
		})
	}
}

// protocol 32, 37
func TestFinishRefuses(t *testing.T) {
	with := func(name string, value any) idptest.Behaviour {
		return idptest.Behaviour{Claims: map[string]any{name: value}}
	}
	others := []string{idptest.ClientID, "x"}
	tests := []struct {
		name   string
		behave idptest.Behaviour
		want   string
	}{
		{"a person who cancels", idptest.Behaviour{Error: "access_denied"}, "cancelled"},
		{"another error", idptest.Behaviour{Error: "interaction_required\"<b>\x07"}, "interaction_required<b>"},
		{"a person without the application",
			idptest.Behaviour{Error: "access_denied", Description: "User is not assigned to the client application."},
			`sign_in_error: User is not assigned to the client application. (error "access_denied", ` +
				`error_description "User is not assigned`},
		{"an error in another language",
			idptest.Behaviour{Error: "login_required", Description: "Für \u202eSie gesperrt 禁止"},
			"Für Sie gesperrt 禁止"},
		{"another nonce", with("nonce", "x"), "the nonce is"},
		{"no nonce", with("nonce", ""), "the nonce is"},
		{"a token from the future", with("iat", time.Now().Add(time.Hour).Unix()), "issued in the future"},
		{"another audience", with("aud", "x"), "audience"},
		{"two audiences and another party",
			idptest.Behaviour{Claims: map[string]any{"aud": others, "azp": "x"}}, "azp is"},
		{"two audiences and no party", with("aud", others), "azp is"},
		{"one audience and another party", with("azp", "x"), "azp is"},
		{"a party that is no text", with("azp", 1), "azp"},
		{"another issuer", with("iss", "https://evil.example"), "different provider"},
		{"a token that has expired", with("exp", time.Now().Add(-skew-time.Second).Unix()), "expired"},
		{"another access token's hash", with("at_hash", "x"), "at_hash is"},
		{"no subject", with("sub", ""), "sub is"},
		{"a subject without end", with("sub", strings.Repeat("1", 256)), "sub is"},
		{"no signature", idptest.Behaviour{Unsigned: true}, "none"},
		{"another key", idptest.Behaviour{OtherKey: true}, "signature"},
		{"no ID token", idptest.Behaviour{NoToken: true}, "no ID token"},
		{"a code that is no longer known", idptest.Behaviour{Refuse: "invalid_grant"},
			`the provider does not know the code (oauth2: "invalid_grant"`},
		{"another provider's answer", idptest.Behaviour{WrongIss: true}, "iss names"},
		{"another provider's error", idptest.Behaviour{WrongIss: true, Error: "access_denied"}, "iss names"},
		{"an answer that does not say whose it is", idptest.Behaviour{TellsIss: true, NoIss: true}, "iss names"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			isRefused(t, test.behave, test.want)
		})
	}
}

// isRefused wants a sign-in refused, with a text that a page can show.
func isRefused(t *testing.T, behave idptest.Behaviour, want string) {
	t.Helper()
	idp, p := setUp(t, nil)
	person, err := signIn(t, idp, p, behave)
	refusal := deviceauth.AsError(err)
	if refusal == nil || !strings.Contains(err.Error(), want) {
		t.Fatalf("got %+v, %v; want %q", person, err, want)
	}
	if refusal.Description != readable(refusal.Description) {
		t.Errorf("%q cannot be shown", refusal.Description)
	}
}

// protocol 37
func TestAnswerOfAnotherAttemptIsRefused(t *testing.T) {
	tests := []struct {
		name   string
		change func(*deviceauth.AuthRequest, url.Values)
		want   string
	}{
		{"another state", func(a *deviceauth.AuthRequest, _ url.Values) { a.State = "another" }, "the state is"},
		{"no state", func(_ *deviceauth.AuthRequest, answer url.Values) { answer.Del("state") }, "the state is"},
		{"no state on either side", func(a *deviceauth.AuthRequest, answer url.Values) {
			a.State = ""
			answer.Del("state")
		}, "the state is"},
		{"two states", func(_ *deviceauth.AuthRequest, answer url.Values) { answer.Add("state", "x") }, "duplicate"},
		{"a stolen code", func(a *deviceauth.AuthRequest, _ url.Values) { a.Verifier = strings.Repeat("stolen", 8) },
			"does not know the code"},
		{"another redirect", func(a *deviceauth.AuthRequest, _ url.Values) { a.RedirectURI = "https://evil.example" },
			"does not know the code"},
		{"no code", func(_ *deviceauth.AuthRequest, answer url.Values) { answer.Del("code") }, "neither a code"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			idp, p := setUp(t, nil)
			attempt, answer := begun, visit(t, idp, p)
			test.change(&attempt, answer)
			if _, err := p.Finish(t.Context(), attempt, answer); deviceauth.AsError(err) == nil ||
				!strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// protocol 37
func TestCodeIsGoodOnce(t *testing.T) {
	idp, p := setUp(t, nil)
	answer := visit(t, idp, p)
	if _, err := p.Finish(t.Context(), begun, maps.Clone(answer)); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Finish(t.Context(), begun, answer); deviceauth.AsError(err) == nil {
		t.Errorf("a second time: %v", err)
	}
}

func TestForgedCallbackCostsTheProviderNothing(t *testing.T) {
	idp, p := setUp(t, nil)
	if _, err := p.Finish(t.Context(), begun,
		url.Values{"state": {"forged"}, "code": {"x"}}); deviceauth.AsError(err) == nil {
		t.Errorf("got %v", err)
	}
	if n := idp.Requests("/.well-known/openid-configuration"); n != 0 {
		t.Errorf("the provider was asked %d times", n)
	}
}

func TestTroubleWithTheProviderIsAFault(t *testing.T) {
	tests := []struct {
		name   string
		behave idptest.Behaviour
		change func(*Config)
	}{
		{"it is down", idptest.Behaviour{Down: true}, nil},
		{"its keys cannot be fetched", idptest.Behaviour{KeysDown: true}, nil},
		{"it refuses the gateway", idptest.Behaviour{Refuse: "invalid_client"}, nil},
		{"the secret is another one", idptest.Behaviour{}, func(c *Config) { c.ClientSecret = "wrong" }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			idp, p := setUp(t, test.change)
			answer := visit(t, idp, p)
			idp.Behave(test.behave)
			if _, err := p.Finish(t.Context(), begun, answer); err == nil || deviceauth.AsError(err) != nil {
				t.Errorf("got %v, want a fault", err)
			}
		})
	}
}

func FuzzReadable(f *testing.F) {
	f.Add("a \"quoted\" \\ text\x00☃")
	f.Add(strings.Repeat("long ", 100))
	f.Fuzz(func(t *testing.T, text string) {
		got := readable(text)
		if utf8.RuneCountInString(got) > maxReadable ||
			strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) || r == '"' || r == '\\' }) {
			t.Errorf("%q becomes %q", text, got)
		}
		if again := readable(got); again != got {
			t.Errorf("%q is not settled: %q", got, again)
		}
	})
}
