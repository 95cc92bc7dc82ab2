package devicecheck

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/deviceclient"
)

// A trap is a server on this machine that counts its requests.
type trap struct {
	*httptest.Server
	requests atomic.Int32
}

func newTrap(t *testing.T) *trap {
	p := new(trap)
	count := func(w http.ResponseWriter, _ *http.Request) {
		p.requests.Add(1)
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte(`{"sub":"work|1","keys":[]}`))
	}
	p.Server = httptest.NewServer(http.HandlerFunc(count))
	t.Cleanup(p.Close)
	return p
}

// far is a stand that is known as example.com, and so on no loopback host.
func far(t *testing.T) *stand {
	return newStand(t, func(c *deviceauth.Config) { c.Issuer = "https://example.com" })
}

// look runs the checks that follow those of the connection; every host of example.com
// leads to the stand.
func (s *stand) look(c Config) map[string]Result {
	s.Helper()
	r := newRun(s.Context(), c)
	defer r.stop()
	defer r.revokeRest()
	r.target, _ = url.Parse(c.URL)
	r.http.Transport.(*http.Transport).DialContext = func(ctx context.Context,
		network, address string) (net.Conn, error) {
		if strings.HasPrefix(address, "example.com:") {
			address = s.Listener.Addr().String()
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	first := slices.IndexFunc(checks, func(c check) bool { return c.name == "reach.http" })
	ended := map[string]Result{}
	for _, result := range r.all(s.Context(), checks[first:]) {
		ended[result.Name] = result
	}
	return ended
}

func (s *stand) farConfig(path string) Config {
	return Config{URL: "https://example.com" + path, ClientID: "meter", ClientSecret: "s3:cret&", Roots: s.roots()}
}

func TestServerElsewhereDoesNotSendThePersonToThisMachine(t *testing.T) {
	t.Parallel()
	for _, endpoint := range []string{"device_authorization_endpoint", "token_endpoint", "revocation_endpoint",
		"jwks_uri", "userinfo_endpoint"} {
		t.Run(endpoint, func(t *testing.T) {
			t.Parallel()
			s, p := far(t), newTrap(t)
			for _, path := range []string{"", "/api/things"} {
				s.tamper = both(setMember(endpoint, p.URL+"/stop"))
				ended := s.look(s.farConfig(path))
				if got := ended["metadata.endpoints"]; got.Status != Fail || !strings.Contains(got.Detail, p.URL) {
					t.Errorf("%q: %+v", path, got)
				}
				if got := ended["device.code"]; got.Status != Skipped {
					t.Errorf("%q: %+v", path, got)
				}
			}
			if n := p.requests.Load(); n != 0 {
				t.Errorf("%d requests came to this machine", n)
			}
		})
	}
}

func TestAPIElsewhereNamesNoServerOnThisMachine(t *testing.T) {
	t.Parallel()
	s, p := far(t), newTrap(t)
	s.tamper = at(resourceName, setMember("authorization_servers", []string{p.URL}))
	ended := s.look(s.farConfig("/api/things"))
	if got := ended["server.reach"]; got.Status != Fail || p.requests.Load() != 0 {
		t.Errorf("%+v, and %d requests came", got, p.requests.Load())
	}
}

func TestSecretGoesToNoOtherOrigin(t *testing.T) {
	t.Parallel()
	for secret, want := range map[string]Status{"s3:cret&": Fail, "": Warn} {
		s, p := newStand(t), newTrap(t)
		s.tamper = both(setMember("revocation_endpoint", p.URL))
		c := s.config()
		if c.ClientSecret = secret; secret != "" {
			c.ClientID = "meter"
		}
		for _, r := range Run(t.Context(), c) {
			if r.Name == "metadata.endpoints" && r.Status != want ||
				r.Name == "device.code" && (r.Status == Skipped) != (secret != "") {
				t.Errorf("with secret %q: %+v", secret, r)
			}
		}
	}
}

// A server of doubtful identity gets neither the client's ID nor its secret.
func TestNoCodeIsAskedForWhereTheServerIsInDoubt(t *testing.T) {
	t.Parallel()
	for name, tamper := range map[string]tampering{
		"metadata.issuer":  both(setMember("issuer", "https://other.example")),
		"resource.name":    at(resourceName, setMember("resource", "https://other.example")),
		"resource.servers": at(resourceName, setMember("authorization_servers", nil)),
	} {
		s := newStand(t)
		s.tamper = tamper
		s.before = func(q *http.Request) {
			if copyForm(q); q.Form.Get("client_secret") != "" ||
				strings.HasPrefix(q.Header.Get("Authorization"), "Basic ") {
				t.Errorf("%s: the secret went to %s", name, q.URL)
			}
		}
		c := s.config()
		c.ClientID, c.ClientSecret = "meter", "s3:cret&"
		for _, r := range Run(t.Context(), c) {
			if r.Name == "device.code" && (r.Status != Skipped || !strings.Contains(r.Detail, name)) {
				t.Errorf("%s: %+v", name, r)
			}
		}
	}
}

// A browser goes where the server says, but only within the server's site.
func TestPagesAreOpenedOnlyAtTheIssuer(t *testing.T) {
	t.Parallel()
	for _, member := range []string{"verification_uri", "verification_uri_complete"} {
		for _, issuer := range []func(*testing.T) *stand{far, func(t *testing.T) *stand { return newStand(t) }} {
			s, p := issuer(t), newTrap(t)
			s.tamper = at("/oauth2/device_authorization", setMember(member, p.URL+"/device?user_code=BCDF-GHJK"))
			c := s.farConfig("")
			if strings.HasPrefix(s.engine.Issuer(), s.URL) {
				c.URL = s.URL
			}
			ended := s.look(c)
			if got := ended["page.code"]; got.Status != Skipped || p.requests.Load() != 0 {
				t.Errorf("%s of %s: %+v, and %d requests came", member, c.URL, got, p.requests.Load())
			}
		}
	}
}

func TestProviderElsewhereDoesNotSendThePersonToThisMachine(t *testing.T) {
	t.Parallel()
	s := far(t)
	var requests atomic.Int32
	s.refuses = func(http.ResponseWriter, *http.Request) bool { requests.Add(1); return true }
	if got := s.look(s.farConfig(""))["page.upstream"]; got.Status != Fail ||
		!strings.Contains(got.Detail, "on this machine") || requests.Load() != 0 {
		t.Errorf("%+v, and %d requests came", got, requests.Load())
	}
}

func TestTokenGoesToNoUserinfoElsewhere(t *testing.T) {
	t.Parallel()
	s, p := newStand(t), newTrap(t)
	s.tamper = both(setMember("userinfo_endpoint", p.URL))
	c := s.config()
	c.Login = s.answers(true)
	for _, r := range Run(t.Context(), c) {
		if r.Name == "login.userinfo" && (r.Status != Warn || p.requests.Load() != 0) {
			t.Errorf("%+v, and %d requests came", r, p.requests.Load())
		}
	}
}

func TestPersonIsToldThatAnotherSiteWouldHaveTheToken(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	target, _ := url.Parse("https://api.example.com/things")
	own, _ := url.Parse(s.URL + "/api/things")
	for _, test := range []struct {
		target *url.URL
		want   bool
	}{{target, true}, {own, false}} {
		c := s.config()
		var shown deviceclient.Prompt
		c.Login = func(p deviceclient.Prompt) { shown = p; s.answers(true)(p) }
		r := newRun(t.Context(), c)
		r.target, r.issuer = test.target, s.URL
		r.server = r.get(s.URL + oauthName).document()
		if got := r.loginFlow(); got.status != Pass {
			t.Errorf("%+v", got)
		}
		if strings.Contains(shown.Warning, "https://api.example.com is given a token") != test.want ||
			!test.want && shown.Warning != "" {
			t.Errorf("%s: told %q", test.target, shown.Warning)
		}
		r.revokeRest()
		r.stop()
	}
}

func TestServerCannotMakeTheReportLong(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	long := strings.Repeat("x", 100_000)
	var tried atomic.Int32
	s.before = func(q *http.Request) {
		if q.URL.Query().Has("long") {
			tried.Add(1)
		}
	}
	s.tamper = func(q *http.Request, w *httptest.ResponseRecorder) {
		both(setMember("jwks_uri", s.URL+"/"+long))(q, w)
		choices(3000, "long="+long[:250])(q, w)
	}
	for _, r := range Run(t.Context(), s.config()) {
		if len(r.Detail)+len(r.Remedy) > 5000 || r.Name == "keys.set" && len(r.Detail) > 600 {
			t.Errorf("%s has %d bytes", r.Name, len(r.Detail)+len(r.Remedy))
		}
	}
	if n := tried.Load(); n == 0 || n > 100 {
		t.Errorf("%d requests", n)
	}
}

func TestRunThatIsOutOfTimeFailsOnce(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	r := newRun(t.Context(), s.config())
	r.stop() // as if the time were over
	all := r.all(t.Context(), checks)
	if len(all) != len(checks) || all[0].Status != Fail || !strings.Contains(all[0].Detail, "longer than 3m") {
		t.Fatalf("%+v", all)
	}
	for _, got := range all[1:] {
		if got.Status != Skipped {
			t.Errorf("%+v", got)
		}
	}
}

func TestPasswordOfAURLIsNotPrinted(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"https://me:hush@api.example.com/", "https://me:hush@api.example.com:x/",
		"https://me:hush/@api.example.com", "me:hush@api.example.com", "ftp://me:hush@x/"} {
		for _, r := range Run(t.Context(), Config{URL: address, ClientID: "tv"}) {
			if strings.Contains(r.Detail+r.Remedy, "hush") ||
				r.Name == "reach.url" && (r.Status != Fail || !strings.Contains(r.Detail, "password")) {
				t.Errorf("%s: %+v", address, r)
			}
		}
	}
}
