package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"
)

// A codeClient is a login in the browser that somebody else wrote, as it comes. It calls
// open with what a browser is to open, and returns the access token.
type codeClient struct {
	name  string
	npm   bool
	login func(ctx context.Context, g *gateway, open func(string)) (token string, err error)
}

// golang.org/x/oauth2 with PKCE, a listener of its own, and a refresh.
func codeXOAuth2(ctx context.Context, g *gateway, open func(string)) (string, error) {
	answers := make(chan *http.Request, 1)
	listener := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { answers <- r }))
	defer listener.Close()
	config := &oauth2.Config{
		ClientID: "desktop", Scopes: stockScopes, RedirectURL: listener.URL + "/callback",
		Endpoint: oauth2.Endpoint{AuthURL: g.url + "/oauth2/authorize", TokenURL: g.url + "/oauth2/token"},
	}
	state, verifier := oauth2.GenerateVerifier(), oauth2.GenerateVerifier()
	open(config.AuthCodeURL(state, oauth2.S256ChallengeOption(verifier)))
	var q map[string][]string
	select {
	case r := <-answers:
		q = r.URL.Query()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if q["error"] != nil {
		return "", errors.New(q["error"][0])
	}
	token, err := config.Exchange(ctx, q["code"][0], oauth2.VerifierOption(verifier))
	if err != nil {
		return "", err
	}
	token.Expiry = time.Now().Add(-time.Minute)
	fresh, err := config.TokenSource(ctx, token).Token()
	if err != nil {
		return "", err
	}
	return fresh.AccessToken, nil
}

// npmCode is one of the scripts of testdata/stock that log in in the browser.
func npmCode(script string, args ...string) func(context.Context, *gateway, func(string)) (string, error) {
	return func(ctx context.Context, g *gateway, open func(string)) (string, error) {
		args := append([]string{filepath.Join(npmFolder(g.t), script), g.url}, args...)
		cmd := exec.CommandContext(ctx, "node", args...)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			return "", err
		}
		if err := cmd.Start(); err != nil {
			return "", err
		}
		defer cmd.Wait()
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var message struct {
				Open  string `json:"open"`
				Token string `json:"access_token"`
				Error string `json:"error"`
			}
			if err := json.Unmarshal(lines.Bytes(), &message); err != nil {
				return "", err
			}
			switch {
			case message.Error != "":
				return "", errors.New(message.Error)
			case message.Token != "":
				return message.Token, nil
			}
			open(message.Open)
		}
		return "", errors.New("the script said nothing")
	}
}

// mcpCode is an SDK for MCP, by the way in which its client is known.
func mcpCode(sdk, known string) func(context.Context, *gateway, func(string)) (string, error) {
	return func(ctx context.Context, g *gateway, open func(string)) (string, error) {
		if known == "document" {
			return npmCode("code-mcp.mjs", sdk, g.document)(ctx, g, open)
		}
		return npmCode("code-mcp.mjs", sdk, known)(ctx, g, open)
	}
}

const (
	mcpSDK1 = "@modelcontextprotocol/sdk"
	mcpSDK2 = "@modelcontextprotocol/client"
)

var codeClients = []codeClient{
	{name: "golang.org/x/oauth2", login: codeXOAuth2},
	{name: "openid-client", npm: true, login: npmCode("code-openid-client.mjs")},
	{name: "oauth4webapi", npm: true, login: npmCode("code-oauth4webapi.mjs")},
	{name: mcpSDK1 + ", configured", npm: true, login: mcpCode(mcpSDK1, "configured")},
	{name: mcpSDK1 + ", registered", npm: true, login: mcpCode(mcpSDK1, "registered")},
	{name: mcpSDK1 + ", by its document", npm: true, login: mcpCode(mcpSDK1, "document")},
	{name: mcpSDK2 + ", configured", npm: true, login: mcpCode(mcpSDK2, "configured")},
	{name: mcpSDK2 + ", registered", npm: true, login: mcpCode(mcpSDK2, "registered")},
	{name: mcpSDK2 + ", by its document", npm: true, login: mcpCode(mcpSDK2, "document")},
}

// codeLife is how long a code is good, and a second more.
const codeLife = 61 * time.Second

// A lateBrowser brings a program its code when it has expired. The time is the gateway's
// own, so it has to pass.
type lateBrowser struct{ gateway string }

func (b lateBrowser) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Query().Get("code") != "" && !strings.HasPrefix(r.URL.String(), b.gateway) {
		select {
		case <-time.After(codeLife):
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	return http.DefaultTransport.RoundTrip(r)
}

// answerProgram is alice, who opens what a program has her open.
func answerProgram(t *testing.T, g *gateway, address, answer string, transport http.RoundTripper) {
	t.Helper()
	alice := newPerson(t, "alice")
	alice.http.Transport = transport
	alice.open(address)
	if strings.Contains(alice.page, "Who are you?") {
		alice.submit("/login", "user", "alice")
	}
	alice.sees("Connect ")
	alice.submit("/device/confirm", "answer", answer)
}

// startForPrograms is a gateway whose clients are configured, register, or have a
// document, which it may fetch from this machine.
func startForPrograms(t *testing.T) *gateway {
	t.Helper()
	g := newGateway(t)
	g.trustDocument(`{"client_id":%q,"client_name":"MCP client","redirect_uris":["http://127.0.0.1/callback"],
		"grant_types":["authorization_code","refresh_token"],"token_endpoint_auth_method":"none"}`)
	g.withLines(desktop + "\n\t\tregistration {\n\t\t\topen\n\t\t\tdocuments 127.0.0.1:*\n" +
		"\t\t\tscopes openid profile offline_access products:read\n\t\t}")
	g.start()
	return g
}

var invalidGrant = regexp.MustCompile(`(?i)invalid_?grant`)

// protocol 9, 22, 28, 34, 47, 48, 49, 51, 52, 53
func TestStockClientsInTheBrowser(t *testing.T) {
	t.Parallel()
	g := startForPrograms(t)
	outcomes := []struct {
		name, answer string
		wants        func(t *testing.T, token string, err error)
	}{
		{"is allowed", "allow", func(t *testing.T, token string, err error) {
			if err != nil {
				t.Fatal(err)
			}
			if status, _ := g.api(token); status != http.StatusOK {
				t.Errorf("the API answers %d", status)
			}
		}},
		{"is denied", "deny", func(t *testing.T, token string, err error) {
			if err == nil || !denied.MatchString(err.Error()) {
				t.Errorf("got %q, %v, want that it was denied", token, err)
			}
		}},
	}
	for _, client := range codeClients {
		for _, outcome := range outcomes {
			t.Run(client.name+" "+outcome.name, func(t *testing.T) {
				if client.npm {
					npmFolder(t)
				}
				t.Parallel()
				token, err := client.loginAs(t, g, outcome.answer, nil)
				outcome.wants(t, token, err)
			})
		}
	}
}

// All clients wait at the same time, for the minute that a code is good.
//
// protocol 48, 49
func TestStockClientsInTheBrowserHearThatTheirCodesHaveExpired(t *testing.T) {
	if testing.Short() {
		t.Skip("a code lives for a minute")
	}
	t.Parallel()
	g := startForPrograms(t)
	var waiting sync.WaitGroup
	defer waiting.Wait()
	for _, client := range codeClients {
		waiting.Go(func() {
			t.Run(client.name, func(t *testing.T) {
				if client.npm {
					npmFolder(t)
				}
				token, err := client.loginAs(t, g, "allow", lateBrowser{gateway: g.url})
				if err == nil || !invalidGrant.MatchString(err.Error()) {
					t.Errorf("got %q, %v, want that the code has expired", token, err)
				}
			})
		})
	}
}

// loginAs logs in as alice answers. transport is her browser's; nil: the usual one.
func (c codeClient) loginAs(t *testing.T, g *gateway, answer string, transport http.RoundTripper) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), codeLife+time.Minute)
	defer cancel()
	on := *g
	on.t = t
	var acting sync.WaitGroup
	opened := false
	token, err := c.login(ctx, &on, func(address string) {
		opened = true
		acting.Go(func() { answerProgram(t, &on, address, answer, transport) })
	})
	acting.Wait()
	if !opened || ctx.Err() != nil {
		t.Fatalf("opened a browser: %v, %v", opened, err)
	}
	return token, err
}
