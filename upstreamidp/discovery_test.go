package upstreamidp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/upstreamidp/idptest"
)

const wellKnown = "/.well-known/openid-configuration"

func TestProviderThatWasDownHealsByItself(t *testing.T) {
	idp, p := setUp(t, nil)
	now := time.Now()
	p.discovery.now = func() time.Time { return now }
	idp.Behave(idptest.Behaviour{Down: true})
	for asked, pause := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		for range 3 {
			if _, err := p.Begin(t.Context(), begun); err == nil || deviceauth.AsError(err) != nil {
				t.Fatalf("got %v, want a fault", err)
			}
			if n := idp.Requests(wellKnown); n != asked+1 {
				t.Fatalf("asked %d times, want %d", n, asked+1)
			}
		}
		now = now.Add(pause*time.Second - 1)
		if _, err := p.Begin(t.Context(), begun); err == nil || idp.Requests(wellKnown) != asked+1 {
			t.Fatalf("asked again before %d s", pause)
		}
		now = now.Add(1)
	}
	idp.Behave(idptest.Behaviour{})
	if _, err := p.Begin(t.Context(), begun); err != nil {
		t.Errorf("after it came back: %v", err)
	}
}

func TestWhoGivesUpTakesNothingFromTheOthers(t *testing.T) {
	idp, p := setUp(t, nil)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { p.Begin(gone, begun) })
		wg.Go(func() {
			if _, err := p.Begin(t.Context(), begun); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := idp.Requests(wellKnown); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
	if _, err := signIn(t, idp, p, idptest.Behaviour{}); err != nil {
		t.Errorf("the keys cannot be fetched any more: %v", err)
	}
}

func TestWhoWaitsMayGiveUp(t *testing.T) {
	silent := make(chan struct{})
	d := cachedDiscovery{ask: func() (*discovered, error) { <-silent; return nil, errors.New("late") }}
	defer close(silent)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.get(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestNewKeyOfTheProviderIsFetched(t *testing.T) {
	idp, p := setUp(t, nil)
	for range 3 {
		if _, err := signIn(t, idp, p, idptest.Behaviour{}); err != nil {
			t.Fatal(err)
		}
		idp.RotateKey()
	}
}

func TestMetadataAreRefused(t *testing.T) {
	tests := []struct{ name, metadata, want string }{
		{"another issuer", `{"issuer":"https://evil.example"}`, "evil.example"},
		{"no issuer", `{"products":[]}`, "no OpenID provider"},
		{"no endpoints", `{"issuer":"ISSUER"}`, "want an https URL"},
		{"an endpoint that others can read",
			`{"issuer":"ISSUER","authorization_endpoint":"ISSUER/a","token_endpoint":"http://idp.example/t",
				"jwks_uri":"ISSUER/k"}`, "token_endpoint"},
		{"a script for an address",
			`{"issuer":"ISSUER","authorization_endpoint":"javascript:alert(1)","token_endpoint":"ISSUER/t",
				"jwks_uri":"ISSUER/k"}`, "authorization_endpoint"},
		{"no JSON", `<html>`, "decode"},
		{"no end", strings.Repeat(" ", maxAnswer+1), "larger than"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var ts *httptest.Server
			ts = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				io.WriteString(w, strings.ReplaceAll(test.metadata, "ISSUER", ts.URL))
			}))
			defer ts.Close()
			p, err := New(Config{ID: "work", Issuer: ts.URL, ClientID: "gateway", HTTPClient: ts.Client()})
			if err != nil {
				t.Fatal(err)
			}
			if to, err := p.Begin(t.Context(), begun); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %s, %v; want %q", to, err, test.want)
			}
		})
	}
}

func TestErrorPageIsNotQuotedWhole(t *testing.T) {
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadGateway)
		io.WriteString(w, strings.Repeat("x", 10*maxError))
	}))
	defer ts.Close()
	p, err := New(Config{ID: "work", Issuer: ts.URL, ClientID: "gateway"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Begin(t.Context(), begun); err == nil || len(err.Error()) > 2*maxError ||
		!strings.Contains(err.Error(), "502") {
		t.Errorf("got %.200v", err)
	}
}

func TestAnswerAsLargeAsAllowedIsRead(t *testing.T) {
	for size, want := range map[int]error{maxAnswer: nil, maxAnswer + 1: errAnswerTooLarge} {
		body := &boundedBody{ReadCloser: io.NopCloser(strings.NewReader(strings.Repeat("x", size))), left: maxAnswer}
		if text, err := io.ReadAll(body); len(text) != maxAnswer || err != want {
			t.Errorf("%d bytes: %d read, %v", size, len(text), err)
		}
	}
}

func TestRedirectToWhereOthersListenIsNotFollowed(t *testing.T) {
	ts := httptest.NewServer(http.RedirectHandler("http://idp.example/", http.StatusTemporaryRedirect))
	defer ts.Close()
	answer, err := boundedClient(nil, true).Get(ts.URL)
	if err == nil {
		answer.Body.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "http://idp.example is not https") {
		t.Errorf("got %v", err)
	}
}

// A provider elsewhere must not be able to make us speak to this machine.
func TestProviderElsewhereDoesNotReachThisMachine(t *testing.T) {
	local := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("%s %s arrived", r.Method, r.URL)
	}))
	defer local.Close()
	remote := httptest.NewTLSServer(http.RedirectHandler(local.URL+"/stop", http.StatusTemporaryRedirect))
	defer remote.Close()
	client := boundedClient(remote.Client(), false)
	if answer, err := client.Get(remote.URL); err == nil {
		answer.Body.Close()
		t.Errorf("a redirect of a GET is followed: %s", answer.Status)
	}
	answer, err := client.Post(remote.URL, "text/plain", strings.NewReader("code"))
	if err != nil || answer.StatusCode != http.StatusTemporaryRedirect {
		t.Fatalf("a redirect of a POST is followed: %v, %v", answer, err)
	}
	answer.Body.Close()
	mux := http.NewServeMux()
	provider := httptest.NewTLSServer(mux)
	defer provider.Close()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"issuer":%q,"authorization_endpoint":"%s/a","token_endpoint":"%s/stop","jwks_uri":"%s/k"}`,
			provider.URL, provider.URL, local.URL, provider.URL)
	})
	p, err := New(Config{ID: "work", Issuer: provider.URL, ClientID: "gateway", HTTPClient: provider.Client()})
	if err != nil {
		t.Fatal(err)
	}
	if to, err := p.Begin(t.Context(), begun); err == nil || !strings.Contains(err.Error(), "token_endpoint") {
		t.Errorf("got %s, %v", to, err)
	}
}

// moving is a provider at an address whose metadata change under way.
func moving(t *testing.T) (idp *idptest.Provider, p *Provider, later func(time.Duration)) {
	t.Helper()
	idp, p = setUp(t, nil)
	now := time.Now()
	p.discovery.now = func() time.Time { return now }
	asked(t, p, begun)
	return idp, p, func(d time.Duration) { now = now.Add(d) }
}

// settled waits for a look at the metadata that is under way.
func settled(p *Provider) {
	p.discovery.mu.Lock()
	looking := p.discovery.looking
	p.discovery.mu.Unlock()
	if looking != nil {
		<-looking.ended
	}
}

func TestMetadataAreLookedAtAgain(t *testing.T) {
	idp, p, later := moving(t)
	idp.Behave(idptest.Behaviour{Metadata: map[string]any{"authorization_endpoint": idp.URL + "/elsewhere"}})
	later(current - 1)
	if to, _ := asked(t, p, begun); strings.Contains(to, "elsewhere") || idp.Requests(wellKnown) != 1 {
		t.Errorf("within the hour: %s, asked %d times", to, idp.Requests(wellKnown))
	}
	later(1)
	asked(t, p, begun) // with the old ones, because the provider might be slow
	settled(p)
	if to, _ := asked(t, p, begun); !strings.Contains(to, "/elsewhere?") || idp.Requests(wellKnown) != 2 {
		t.Errorf("after the hour: %s, asked %d times", to, idp.Requests(wellKnown))
	}
}

func TestOldMetadataCountWhileTheProviderIsAway(t *testing.T) {
	idp, p, later := moving(t)
	idp.Behave(idptest.Behaviour{Down: true})
	for range 5 {
		later(current)
		for range 5 {
			asked(t, p, begun)
			settled(p)
		}
	}
	if n := idp.Requests(wellKnown); n != 6 {
		t.Errorf("asked %d times, want once at first and once each hour", n)
	}
	idp.Behave(idptest.Behaviour{})
	later(maxPause)
	if _, err := signIn(t, idp, p, idptest.Behaviour{}); err != nil {
		t.Errorf("when it is back: %v", err)
	}
}

// Keys and endpoints that moved are found by the next sign-in, not after an hour.
func TestMetadataAreLookedAtAgainWhereSomethingFails(t *testing.T) {
	for name, path := range map[string]string{"the keys": "/keys", "the token endpoint": "/token"} {
		t.Run(name, func(t *testing.T) {
			idp, p, later := moving(t)
			gone := idptest.Behaviour{Gone: path}
			for range 2 {
				if _, err := signIn(t, idp, p, gone); err == nil {
					t.Fatal("the old address still serves")
				}
				if n := idp.Requests(wellKnown); n != 1 {
					t.Fatalf("metadata of a moment ago are doubted: asked %d times", n)
				}
			}
			later(recent)
			if _, err := signIn(t, idp, p, gone); err == nil {
				t.Fatal("the old address still serves")
			}
			if _, err := signIn(t, idp, p, gone); err != nil || idp.Requests(wellKnown) != 2 {
				t.Errorf("the new address is not found: %v, asked %d times", err, idp.Requests(wellKnown))
			}
		})
	}
}

func TestMetadataThatAreTheSameKeepTheirKeys(t *testing.T) {
	idp, p, later := moving(t)
	if _, err := signIn(t, idp, p, idptest.Behaviour{}); err != nil {
		t.Fatal(err)
	}
	later(current)
	asked(t, p, begun)
	settled(p)
	if _, err := signIn(t, idp, p, idptest.Behaviour{KeysDown: true}); err != nil {
		t.Errorf("keys that were known are fetched again: %v", err)
	}
}

func TestIssuerThatIsSpelledOtherwiseIsNoOutage(t *testing.T) {
	idp := idptest.Start()
	defer idp.Close()
	var log bytes.Buffer
	p, err := New(Config{ID: "work", Issuer: idp.URL + "/", ClientID: "gateway",
		Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Begin(t.Context(), begun)
	var wrong *deviceauth.ConfigError
	if !errors.As(err, &wrong) {
		t.Fatalf("got %v", err)
	}
	for _, spelling := range []string{`"` + idp.URL + `"`, `"` + idp.URL + `/"`} {
		if !strings.Contains(err.Error(), spelling) {
			t.Errorf("%s is not in: %v", spelling, err)
		}
		if !strings.Contains(log.String(), strings.Trim(spelling, `"`)) {
			t.Errorf("%s is not in the log:\n%s", spelling, log.String())
		}
	}
	idp.Behave(idptest.Behaviour{Down: true})
	p, _ = New(Config{ID: "work", Issuer: idp.URL, ClientID: "gateway"})
	if _, err := p.Begin(t.Context(), begun); err == nil || errors.As(err, &wrong) {
		t.Errorf("an outage: %v", err)
	}
}

func TestGatewayThatIsNotKnownThereIsNoOutage(t *testing.T) {
	idp, p := setUp(t, func(c *Config) { c.ClientSecret = "wrong" })
	_, err := signIn(t, idp, p, idptest.Behaviour{})
	var wrong *deviceauth.ConfigError
	if !errors.As(err, &wrong) || !strings.Contains(err.Error(), "client_secret") {
		t.Errorf("got %v", err)
	}
}

// An issuer of all tenants is refused when it is loaded, with the one to write.
func TestIssuerOfManyTenantsIsRefused(t *testing.T) {
	for issuer, want := range map[string]string{
		"https://login.microsoftonline.com/common/v2.0":        "<tenant id>/v2.0",
		"https://login.microsoftonline.com/Organizations/v2.0": "<tenant id>/v2.0",
		"https://login.microsoftonline.com":                    "<tenant id>/v2.0",
		"https://login.microsoftonline.us/common/v2.0":         "https://login.microsoftonline.us/<tenant id>/v2.0",
		"https://login.microsoftonline.com/consumers/v2.0": "https://login.microsoftonline.com/" +
			consumers + "/v2.0",
		"https://login.microsoftonline.com/" + consumers + "/v2.0": "",
		"https://login.microsoftonline.com/contoso.com/v2.0":       "",
		"https://login.example.com/common/v2.0":                    "",
	} {
		err := Config{ID: "entra", Issuer: issuer, ClientID: "x"}.Check()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %q", issuer, err, want)
		}
	}
	idp, p := setUp(t, nil)
	idp.Behave(idptest.Behaviour{Metadata: map[string]any{"issuer": idp.URL + "/{tenantid}/v2.0"}})
	_, err := p.Begin(t.Context(), begun)
	var wrong *deviceauth.ConfigError
	if !errors.As(err, &wrong) || !strings.Contains(err.Error(), "the issuer of your own tenant") {
		t.Errorf("a template elsewhere: %v", err)
	}
}
