package pages_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/url"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/gateway"
	"github.com/deviceauth/caddy-deviceauth/internal/gatewaytest"
)

// two has a second upstream beside the first.
func two(t *testing.T) (s *gatewaytest.Site, home *gatewaytest.Upstream) {
	t.Helper()
	s = gatewaytest.New(t, func(c *deviceauth.Config) { c.Allow["home"] = nil })
	home = &gatewaytest.Upstream{Person: &deviceauth.Person{Subject: "home|1", Upstream: "home", User: "mallory"}}
	s.Reconfigure(func(c *gateway.HandlerConfig) {
		c.Upstreams = append(c.Upstreams, gatewaytest.Home{Upstream: home})
	})
	return s, home
}

// protocol 37
func TestUpstreamsHaveRedirectURIsOfTheirOwn(t *testing.T) {
	s, home := two(t)
	b := s.Browser()
	b.Open("/device/sign-in?with=work")
	if got := s.Upstream.Begun.RedirectURI; got != "https://api.example.com/device/callback/work" ||
		s.Pages.RedirectURI("work") != got {
		t.Errorf("the redirect URI is %s", got)
	}
	b.Open("/device/callback/work?code=c&state=" + s.Upstream.Begun.State)
	b.Sees(200, "Signed in as Alice")
	b.Open("/device/sign-in?with=home")
	b.Open("/device/callback/home?code=c&state=" + home.Begun.State)
	b.Sees(200, "Signed in as mallory")
	b.Open("/device/callback/elsewhere?code=c&state=" + home.Begun.State)
	if b.Status != 404 {
		t.Errorf("the callback of no upstream: %d", b.Status)
	}
}

// An upstream that sends people on to another one, as this gateway, gets neither
// the code that they come back with nor the verifier (RFC 9700 §4.4).
//
// protocol 37
func TestCodeOfOneUpstreamIsNotToldAnother(t *testing.T) {
	s, home := two(t)
	for _, path := range []string{"/device/callback/work", "/device/callback"} {
		b := s.Browser()
		b.Open("/device/sign-in?with=home")
		b.Open(path + "?code=of-work&state=" + home.Begun.State)
		b.Sees(403, "an answer that cannot be trusted")
		if home.Finished != 0 {
			t.Errorf("%s: the code of another upstream is told", path)
		}
		b.Open("/device/callback/home?code=c&state=" + home.Begun.State)
		b.Sees(400, "This sign-in is over")
	}
}

// protocol 37
func TestSignInOutlivesAnUpstreamThatIsAdded(t *testing.T) {
	s := gatewaytest.New(t)
	b := s.Browser()
	b.Open("/device/sign-in?with=work")
	s.Reconfigure(func(c *gateway.HandlerConfig) {
		c.Upstreams = append(c.Upstreams, gatewaytest.Home{Upstream: &gatewaytest.Upstream{}})
	})
	b.Open("/device/callback?code=c&state=" + s.Upstream.Begun.State)
	b.Sees(200, "Signed in as Alice")
}

// undecided is an upstream that wants to be asked with other prompts.
type undecided struct {
	*gatewaytest.Upstream
	prompts []string
	begun   []deviceauth.AuthRequest
}

func (u *undecided) Begin(ctx context.Context, a deviceauth.AuthRequest) (string, error) {
	u.begun = append(u.begun, a)
	return u.Upstream.Begin(ctx, a)
}

func (u *undecided) Finish(ctx context.Context, a deviceauth.AuthRequest,
	answer url.Values) (*deviceauth.Person, error) {
	if len(u.prompts) > 0 {
		prompt := u.prompts[0]
		u.prompts = u.prompts[1:]
		return nil, &deviceauth.PromptError{Prompt: prompt,
			Err: deviceauth.NewError("sign_in_error", "invalid_request")}
	}
	return u.Upstream.Finish(ctx, a, answer)
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
			s := gatewaytest.New(t)
			u := &undecided{Upstream: s.Upstream, prompts: test.prompts}
			s.Reconfigure(func(c *gateway.HandlerConfig) { c.Upstreams = []deviceauth.Upstream{u} })
			b := s.Browser()
			b.Open("/device/sign-in?with=work&switch=1")
			first := s.Upstream.Begun
			b.Open("/device/callback?error=invalid_request&state=" + first.State)
			second := s.Upstream.Begun
			if b.Status != 303 || second.Prompt != "login" || !second.SwitchAccount || second.State == first.State ||
				second.Nonce == first.Nonce || second.Verifier == first.Verifier {
				t.Fatalf("got %d, and began with %+v after %+v", b.Status, second, first)
			}
			b.Open("/device/callback?code=c&state=" + second.State)
			b.Sees(test.status, test.want)
			if len(u.begun) != 2 {
				t.Errorf("asked %d times", len(u.begun))
			}
			b.Open("/device/callback?code=c&state=" + first.State)
			b.Sees(400, "This sign-in is over")
		})
	}
}

// protocol 37
func TestUpstreamThatIsConfiguredWronglyIsNoOutage(t *testing.T) {
	s := gatewaytest.New(t)
	var log bytes.Buffer
	s.Reconfigure(func(c *gateway.HandlerConfig) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	s.Upstream.Misconfigured = true
	b := s.Browser()
	b.Open("/device/sign-in?with=work")
	b.Sees(503, "Sign-in is set up wrongly")
	if b.Header.Get("Retry-After") != "" {
		t.Error("the page says that it heals by itself")
	}
	if !strings.Contains(log.String(), "it calls itself otherwise") {
		t.Errorf("the log does not say what is wrong:\n%s", log.String())
	}
}

// protocol 41
func TestUpstreamWithoutAuthTimeIsNoCircle(t *testing.T) {
	s := gatewaytest.New(t, func(c *deviceauth.Config) { c.Clients[0].FreshSignIn = true })
	b := s.Browser()
	b.SignIn()
	b.Ask()
	s.Upstream.Refusal = deviceauth.NewError("sign_in_no_auth_time", "auth_time is missing")
	b.Open("/device/sign-in?fresh=1&with=work")
	b.Open("/device/callback?code=c&state=" + b.Upstream.Begun.State)
	b.Sees(403, "Trying again does not help")
	if strings.Contains(b.Page, "/device/confirm") || strings.Contains(b.Page, "/device/sign-in") {
		t.Errorf("the page leads back to the sign-in:\n%s", b.Page)
	}
}

// protocol 44
func TestPersonWhoseGroupsWereLeftOutReadsThat(t *testing.T) {
	s := gatewaytest.New(t)
	s.Upstream.Person.Claims, s.Upstream.Person.Withheld = deviceauth.Claims{"name": "Alice <i>"}, []string{"groups"}
	b := s.Browser()
	b.SignIn()
	b.Ask()
	b.Sees(403, "because there are too many")
	b.Sees(403, "signed in as Alice &lt;i&gt;")
	if strings.Contains(b.Page, "Who can help") {
		t.Error("nobody is to be asked, and the page says whom")
	}
	s.Reconfigure(func(c *gateway.HandlerConfig) { c.Brand.Contact = "help@example.com" })
	b.Open("/device/confirm")
	b.Sees(403, "Who can help: <bdi>help@example.com</bdi>")
	b.Open("/device/callback?code=c&state=x")
	if b.Sees(400, "This sign-in is over"); strings.Contains(b.Page, "help@example.com") {
		t.Error("a page that needs nobody's help says whom to ask")
	}
}
