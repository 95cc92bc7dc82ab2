package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	ghdevice "github.com/cli/oauth/device"
	"github.com/zitadel/oidc/v3/pkg/client/rp"
	"golang.org/x/oauth2"

	"github.com/deviceauth/caddy-deviceauth/internal/needs"
)

// A stockClient is a device flow that somebody else wrote, as it comes. It
// calls show with what a device would show, and returns the access token.
type stockClient struct {
	name  string
	npm   bool
	login func(ctx context.Context, g *gateway, show func(*device)) (token string, err error)
}

var stockScopes = []string{"openid", "profile", "offline_access", "products:read"}

// golang.org/x/oauth2, and a refresh with it.
func loginXOAuth2(ctx context.Context, g *gateway, show func(*device)) (string, error) {
	config := &oauth2.Config{ClientID: "cool-gadget", Scopes: stockScopes,
		Endpoint: oauth2.Endpoint{DeviceAuthURL: g.url + "/oauth2/device_authorization",
			TokenURL: g.url + "/oauth2/token"}}
	return throughXOAuth2(ctx, config, show)
}

// The same with PKCE on the device grant.
func loginXOAuth2WithPKCE(ctx context.Context, g *gateway, show func(*device)) (string, error) {
	config := &oauth2.Config{
		ClientID: "cool-gadget", Scopes: stockScopes,
		Endpoint: oauth2.Endpoint{DeviceAuthURL: g.url + "/oauth2/device_authorization",
			TokenURL: g.url + "/oauth2/token"},
	}
	verifier := oauth2.GenerateVerifier()
	prompt, err := config.DeviceAuth(ctx, oauth2.S256ChallengeOption(verifier))
	if err != nil {
		return "", err
	}
	show(&device{User: prompt.UserCode, Full: prompt.VerificationURIComplete})
	token, err := config.DeviceAccessToken(ctx, prompt, oauth2.VerifierOption(verifier))
	if err != nil {
		return "", err
	}
	return token.AccessToken, nil
}

// The same with the paths that its package google has for Google.
func loginGoogle(ctx context.Context, g *gateway, show func(*device)) (string, error) {
	config := &oauth2.Config{ClientID: "cool-gadget", Scopes: stockScopes,
		Endpoint: oauth2.Endpoint{DeviceAuthURL: g.url + "/device/code", TokenURL: g.url + "/token",
			AuthStyle: oauth2.AuthStyleInParams}}
	return throughXOAuth2(ctx, config, show)
}

func throughXOAuth2(ctx context.Context, config *oauth2.Config, show func(*device)) (string, error) {
	prompt, err := config.DeviceAuth(ctx)
	if err != nil {
		return "", err
	}
	show(&device{User: prompt.UserCode, Full: prompt.VerificationURIComplete})
	token, err := config.DeviceAccessToken(ctx, prompt)
	if err != nil {
		return "", err
	}
	token.Expiry = time.Now().Add(-time.Minute)
	fresh, err := config.TokenSource(ctx, token).Token()
	if err != nil {
		return "", err
	}
	if fresh.AccessToken == token.AccessToken || fresh.RefreshToken == token.RefreshToken {
		return "", errors.New("the refresh gave the old tokens")
	}
	return fresh.AccessToken, nil
}

// github.com/cli/oauth, the device flow of GitHub's gh.
func loginGH(ctx context.Context, g *gateway, show func(*device)) (string, error) {
	code, err := ghdevice.RequestCode(http.DefaultClient, g.url+"/login/device/code", "cool-gadget", stockScopes)
	if err != nil {
		return "", err
	}
	show(&device{User: code.UserCode, Full: code.VerificationURIComplete})
	token, err := ghdevice.Wait(ctx, http.DefaultClient, g.url+"/login/oauth/access_token",
		ghdevice.WaitOptions{ClientID: "cool-gadget", DeviceCode: code})
	if err != nil {
		return "", err
	}
	return token.Token, nil
}

// The device client of github.com/zitadel/oidc, beginning with discovery.
func loginZitadel(ctx context.Context, g *gateway, show func(*device)) (string, error) {
	party, err := rp.NewRelyingPartyOIDC(ctx, g.url, "cool-gadget", "", "", stockScopes)
	if err != nil {
		return "", err
	}
	prompt, err := rp.DeviceAuthorization(ctx, stockScopes, party, nil)
	if err != nil {
		return "", err
	}
	show(&device{User: prompt.UserCode, Full: prompt.VerificationURIComplete})
	tokens, err := rp.DeviceAccessToken(ctx, prompt.DeviceCode, time.Duration(prompt.Interval)*time.Second, party)
	if err != nil {
		return "", err
	}
	return tokens.AccessToken, nil
}

// npmClient is one of the scripts of testdata/stock.
func npmClient(script string) func(context.Context, *gateway, func(*device)) (string, error) {
	return func(ctx context.Context, g *gateway, show func(*device)) (string, error) {
		cmd := exec.CommandContext(ctx, "node", filepath.Join(npmFolder(g.t), script), g.url)
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
			var output struct {
				device
				Token string `json:"access_token"`
				Error string `json:"error"`
			}
			if err := json.Unmarshal(lines.Bytes(), &output); err != nil {
				return "", err
			}
			switch {
			case output.Error != "":
				return "", errors.New(output.Error)
			case output.Token != "":
				return output.Token, nil
			}
			show(&output.device)
		}
		return "", errors.New("the script said nothing")
	}
}

// npmFolder is where what the scripts need has been installed.
func npmFolder(t *testing.T) string {
	t.Helper()
	needs.Program(t, "node", "node")
	folder, err := installed()
	if err != nil {
		needs.Lacking(t, "node", "npm cannot install the clients: "+err.Error())
	}
	return folder
}

// installed installs it, once for all tests of the process.
var installed = sync.OnceValues(func() (folder string, err error) {
	folder = filepath.Join(filepath.Dir(binary), "stock")
	if err := os.CopyFS(folder, os.DirFS("testdata/stock")); err != nil {
		return "", err
	}
	install := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	install.Dir = folder
	if out, err := install.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return folder, nil
})

var stockClients = []stockClient{
	{name: "golang.org/x/oauth2", login: loginXOAuth2},
	{name: "golang.org/x/oauth2 with PKCE", login: loginXOAuth2WithPKCE},
	{name: "golang.org/x/oauth2 for Google", login: loginGoogle},
	{name: "github.com/cli/oauth", login: loginGH},
	{name: "github.com/zitadel/oidc", login: loginZitadel},
	{name: "openid-client", npm: true, login: npmClient("openid-client.mjs")},
	{name: "oauth4webapi", npm: true, login: npmClient("oauth4webapi.mjs")},
	{name: "@octokit/auth-oauth-device", npm: true, login: npmClient("octokit.mjs")},
	{name: "@azure/msal-node", npm: true, login: npmClient("msal.mjs")},
	{name: "@modelcontextprotocol/sdk", npm: true, login: npmClient("mcp.mjs")},
	{name: "openid-client 5", npm: true, login: npmClient("openid-client-5.mjs")},
}

// How clients tell that somebody said no, and that nobody answered: by the
// error, or by their own clock, which may be faster.
var (
	denied  = regexp.MustCompile(`access_denied|authorization_declined`)
	expired = regexp.MustCompile(`(?i)expired|timed out|timeout|deadline`)
)

// strictClient is a client whose ID tokens openid-client 5 takes, with the word for that.
func strictClient(word string) string {
	return "client strict {\n\tname \"Cool Gadget\"\n\tscopes openid profile offline_access products:read\n\t" +
		word + "\n\t}"
}

// protocol 6, 8, 9, 13, 14, 16, 19, 20, 22, 26, 28, 34
func TestStockClients(t *testing.T) {
	t.Parallel()
	lines := "dialect entra github google\n\t" + strictClient("id_token RS256")
	usual := startWith(t, lines)
	hasty := startWith(t, lines+"\n\tlifetime device_code 2s")
	for _, client := range stockClients {
		for _, outcome := range stockOutcomes(usual, hasty) {
			t.Run(client.name+" "+outcome.name, func(t *testing.T) {
				if client.npm {
					npmFolder(t)
				}
				t.Parallel()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				on := *outcome.on
				on.t = t
				var acting sync.WaitGroup
				shown := false
				token, err := client.login(ctx, &on, func(d *device) {
					shown = true
					acting.Go(func() { outcome.act(newPerson(t, "alice"), d) })
				})
				acting.Wait()
				if !shown || ctx.Err() != nil {
					t.Fatalf("shown a code: %v, %v", shown, err)
				}
				outcome.wants(t, token, err)
			})
		}
	}
}

// What id_token RS256 is for: without it a client of that kind throws away what it
// was given.
func TestStrictClientTakesNoOtherAlgorithm(t *testing.T) {
	t.Parallel()
	npmFolder(t)
	g := startWith(t, strictClient(""))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var acting sync.WaitGroup
	token, err := npmClient("openid-client-5.mjs")(ctx, g, func(d *device) {
		acting.Go(func() { newPerson(t, "alice").allow(d) })
	})
	acting.Wait()
	if err == nil || !strings.Contains(err.Error(), "expected RS256, got: ES256") {
		t.Errorf("got %q, %v", token, err)
	}
}

// A stockOutcome is what a person does about a code, and what the client must make of it.
type stockOutcome struct {
	name  string
	on    *gateway
	act   func(*person, *device)
	wants func(t *testing.T, token string, err error)
}

func stockOutcomes(usual, hasty *gateway) []stockOutcome {
	return []stockOutcome{
		{name: "is allowed", on: usual, act: (*person).allow, wants: func(t *testing.T, token string, err error) {
			if err != nil {
				t.Fatal(err)
			}
			if status, _ := usual.api(token); status != http.StatusOK {
				t.Errorf("the API answers %d", status)
			}
		}},
		{name: "is denied", on: usual, act: (*person).deny, wants: func(t *testing.T, token string, err error) {
			if err == nil || !denied.MatchString(err.Error()) {
				t.Errorf("got %q, %v, want that it was denied", token, err)
			}
		}},
		{name: "hears that nobody answered", on: hasty, act: func(*person, *device) {},
			wants: func(t *testing.T, token string, err error) {
				if err == nil || !expired.MatchString(err.Error()) {
					t.Errorf("got %q, %v, want that the code expired", token, err)
				}
			}},
	}
}
