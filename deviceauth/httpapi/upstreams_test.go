package httpapi_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/url"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/httpapi"
)

// two has a second upstream beside the first.
func two(t *testing.T) (s *site, home *signIn) {
	t.Helper()
	s = newSite(t, func(c *deviceauth.Config) { c.Allow["home"] = nil })
	home = &signIn{person: &deviceauth.Person{Subject: "home|1", Upstream: "home", User: "mallory"}}
	s.again(func(c *httpapi.Config) { c.Upstreams = append(c.Upstreams, another{home}) })
	return s, home
}

// protocol 37
func TestUpstreamsHaveRedirectURIsOfTheirOwn(t *testing.T) {
	s, home := two(t)
	b := s.browser()
	b.open("/device/sign-in?with=work")
	if got := s.signIn.begun.RedirectURI; got != "https://api.example.com/device/callback/work" || s.RedirectURI("work") != got {
		t.Errorf("the redirect URI is %s", got)
	}
	b.open("/device/callback/work?code=c&state=" + s.signIn.begun.State)
	b.sees(200, "Signed in as Alice")
	b.open("/device/sign-in?with=home")
	b.open("/device/callback/home?code=c&state=" + home.begun.State)
	b.sees(200, "Signed in as mallory")
	b.open("/device/callback/elsewhere?code=c&state=" + home.begun.State)
	if b.status != 404 {
		t.Errorf("the callback of no upstream: %d", b.status)
	}
}

// An upstream that sends people on to another one, as this gateway, gets neither
// the code that they come back with nor the verifier (RFC 9700 §4.4).
//
// protocol 37
func TestCodeOfOneUpstreamIsNotToldAnother(t *testing.T) {
	s, home := two(t)
	for _, path := range []string{"/device/callback/work", "/device/callback"} {
		b := s.browser()
		b.open("/device/sign-in?with=home")
		b.open(path + "?code=of-work&state=" + home.begun.State)
		b.sees(403, "an answer that cannot be trusted")
		if home.finished != 0 {
			t.Errorf("%s: the code of another upstream is told", path)
		}
		b.open("/device/callback/home?code=c&state=" + home.begun.State)
		b.sees(400, "This sign-in is over")
	}
}

// protocol 37
func TestSignInOutlivesAnUpstreamThatIsAdded(t *testing.T) {
	s := newSite(t)
	b := s.browser()
	b.open("/device/sign-in?with=work")
	s.again(func(c *httpapi.Config) { c.Upstreams = append(c.Upstreams, another{&signIn{}}) })
	b.open("/device/callback?code=c&state=" + s.signIn.begun.State)
	b.sees(200, "Signed in as Alice")
}

// undecided is an upstream that wants to be asked with other prompts.
type undecided struct {
	*signIn
	prompts []string
	begun   []deviceauth.AuthRequest
}

func (u *undecided) Begin(ctx context.Context, a deviceauth.AuthRequest) (string, error) {
	u.begun = append(u.begun, a)
	return u.signIn.Begin(ctx, a)
}

func (u *undecided) Finish(ctx context.Context, a deviceauth.AuthRequest, answer url.Values) (*deviceauth.Person, error) {
	if len(u.prompts) > 0 {
		prompt := u.prompts[0]
		u.prompts = u.prompts[1:]
		return nil, &deviceauth.PromptError{Prompt: prompt, Err: deviceauth.NewError("sign_in_error", "invalid_request")}
	}
	return u.signIn.Finish(ctx, a, answer)
}

// protocol 37, 41
func TestUpstreamIsAskedAgainOnce(t *testing.T) {
	for _, test := range []struct {
		name    string
		prompts []string
		status  int
		want    string
	}{
		{"and says yes", []string{"login"}, 200, "Signed in as Alice"},
		{"and says no", []string{"login", "consent"}, 403, "invalid_request"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSite(t)
			u := &undecided{signIn: s.signIn, prompts: test.prompts}
			s.again(func(c *httpapi.Config) { c.Upstreams = []deviceauth.Upstream{u} })
			b := s.browser()
			b.open("/device/sign-in?with=work&switch=1")
			first := s.signIn.begun
			b.open("/device/callback?error=invalid_request&state=" + first.State)
			second := s.signIn.begun
			if b.status != 303 || second.Prompt != "login" || !second.SwitchAccount || second.State == first.State ||
				second.Nonce == first.Nonce || second.Verifier == first.Verifier {
				t.Fatalf("got %d, and began with %+v after %+v", b.status, second, first)
			}
			b.open("/device/callback?code=c&state=" + second.State)
			b.sees(test.status, test.want)
			if len(u.begun) != 2 {
				t.Errorf("asked %d times", len(u.begun))
			}
			b.open("/device/callback?code=c&state=" + first.State)
			b.sees(400, "This sign-in is over")
		})
	}
}

// protocol 37
func TestUpstreamThatIsConfiguredWronglyIsNoOutage(t *testing.T) {
	s := newSite(t)
	var log bytes.Buffer
	s.again(func(c *httpapi.Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	s.signIn.wrong = true
	b := s.browser()
	b.open("/device/sign-in?with=work")
	b.sees(503, "Sign-in is set up wrongly")
	if b.header.Get("Retry-After") != "" {
		t.Error("the page says that it heals by itself")
	}
	if !strings.Contains(log.String(), "it calls itself otherwise") {
		t.Errorf("the log does not say what is wrong:\n%s", log.String())
	}
}

// protocol 41
func TestUpstreamWithoutAuthTimeIsNoCircle(t *testing.T) {
	s := newSite(t, func(c *deviceauth.Config) { c.Clients[0].FreshSignIn = true })
	b := s.browser()
	b.in()
	b.ask()
	s.signIn.refusal = deviceauth.NewError("sign_in_no_auth_time", "auth_time is missing")
	b.open("/device/sign-in?fresh=1&with=work")
	b.open("/device/callback?code=c&state=" + b.signIn.begun.State)
	b.sees(403, "Trying again does not help")
	if strings.Contains(b.page, "/device/confirm") || strings.Contains(b.page, "/device/sign-in") {
		t.Errorf("the page leads back to the sign-in:\n%s", b.page)
	}
}

// protocol 44
func TestPersonWhoseGroupsWereLeftOutReadsThat(t *testing.T) {
	s := newSite(t)
	s.signIn.person.Claims, s.signIn.person.Withheld = deviceauth.Claims{"name": "Alice <i>"}, []string{"groups"}
	b := s.browser()
	b.in()
	b.ask()
	b.sees(403, "because there are too many")
	b.sees(403, "signed in as Alice &lt;i&gt;")
	if strings.Contains(b.page, "Who can help") {
		t.Error("nobody is to be asked, and the page says whom")
	}
	s.again(func(c *httpapi.Config) { c.Brand.Contact = "help@example.com" })
	b.open("/device/confirm")
	b.sees(403, "Who can help: <bdi>help@example.com</bdi>")
	b.open("/device/callback?code=c&state=x")
	if b.sees(400, "This sign-in is over"); strings.Contains(b.page, "help@example.com") {
		t.Error("a page that needs nobody's help says whom to ask")
	}
}
