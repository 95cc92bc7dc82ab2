package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"

	"github.com/deviceauth/caddy-deviceauth/internal/loadtest"
	"github.com/deviceauth/caddy-deviceauth/internal/needs"
)

// startMCP runs the example for MCP before a real MCP server, npm's server-everything.
func startMCP(t *testing.T, env ...string) *example {
	t.Helper()
	folder := npmFolder(t)
	port := loadtest.FreePorts(1)[0]
	server := exec.Command("node", filepath.Join(folder,
		"node_modules/@modelcontextprotocol/server-everything/dist/index.js"), "streamableHttp")
	server.Env = append(os.Environ(), "PORT="+port)
	stderr, err := server.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Process.Kill(); server.Wait() })
	lines := bufio.NewScanner(stderr)
	for lines.Scan() && !strings.Contains(lines.Text(), "listening on port") {
	}
	go func() {
		for lines.Scan() { // it stops where nobody reads what it says
		}
	}()
	backend := regexp.MustCompile(`reverse_proxy @mcp \S+`)
	return startExample(t, "mcp", "assistant", func(s string) string {
		s = strings.Replace(s, "sign_in fresh\n", "\n", 1) // these people sign in once
		s = strings.Replace(s, "documents claude.ai", "documents 127.0.0.1:* claude.ai", 1)
		return backend.ReplaceAllString(s, "reverse_proxy @mcp 127.0.0.1:"+port)
	}, env...)
}

// mcpClients are the ways in which the official SDK for Go tells the server who it is.
// document is the URL of its metadata document.
var mcpClients = map[string]func(c *auth.AuthorizationCodeHandlerConfig, document string){
	"configured": func(c *auth.AuthorizationCodeHandlerConfig, _ string) {
		c.PreregisteredClient = &oauthex.ClientCredentials{ClientID: "assistant"}
	},
	"registered": func(c *auth.AuthorizationCodeHandlerConfig, _ string) {
		c.DynamicClientRegistrationConfig = &auth.DynamicClientRegistrationConfig{
			Metadata: &oauthex.ClientRegistrationMetadata{
				RedirectURIs: []string{c.RedirectURL}, ClientName: "Go SDK", TokenEndpointAuthMethod: "none",
				GrantTypes: []string{"authorization_code", "refresh_token"},
			},
		}
	},
	"by its document": func(c *auth.AuthorizationCodeHandlerConfig, document string) {
		c.ClientIDMetadataDocumentConfig = &auth.ClientIDMetadataDocumentConfig{URL: document}
	},
}

// The official SDK for Go, from the guarded URL alone to the tools of the server.
//
// protocol 9, 28, 34, 47, 49, 52, 53
func TestGoSDKForMCPUsesAGuardedServer(t *testing.T) {
	t.Parallel()
	site, trust := publish(t, `{"client_id":%q,"client_name":"Go SDK",
		"redirect_uris":["http://127.0.0.1/callback"],
		"grant_types":["authorization_code","refresh_token"],"token_endpoint_auth_method":"none"}`)
	e, document := startMCP(t, trust), site.URL+"/client.json"
	for name, known := range mcpClients {
		t.Run(name+" is allowed", func(t *testing.T) {
			session, err := connectGoSDK(t, e, "allow", document, known)
			if err != nil {
				t.Fatal(err)
			}
			defer session.Close()
			tools, err := session.ListTools(t.Context(), nil)
			if err != nil || len(tools.Tools) == 0 {
				t.Errorf("%v, %v", tools, err)
			}
		})
		t.Run(name+" is denied", func(t *testing.T) {
			session, err := connectGoSDK(t, e, "deny", document, known)
			if err == nil {
				session.Close()
			}
			if err == nil || !strings.Contains(err.Error(), "access_denied") {
				t.Errorf("got %v, want that it was denied", err)
			}
		})
	}
}

// connectGoSDK connects to the guarded server, as alice answers.
func connectGoSDK(
	t *testing.T, e *example, answer, document string, known func(*auth.AuthorizationCodeHandlerConfig, string),
) (*mcp.ClientSession, error) {
	t.Helper()
	answers := make(chan url.Values, 1)
	listener := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		answers <- r.URL.Query()
	}))
	defer listener.Close()
	config := &auth.AuthorizationCodeHandlerConfig{
		RedirectURL: listener.URL + "/callback", RequestRefreshToken: true,
		AuthorizationCodeFetcher: func(
			ctx context.Context, a *auth.AuthorizationArgs,
		) (*auth.AuthorizationResult, error) {
			go answerProgram(t, e.gateway, a.URL, answer, nil)
			select {
			case q := <-answers:
				if q.Get("error") != "" { // the SDK leaves this to its caller
					return nil, errors.New(q.Get("error"))
				}
				return &auth.AuthorizationResult{Code: q.Get("code"), State: q.Get("state"), Iss: q.Get("iss")}, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		},
	}
	known(config, document)
	handler, err := auth.NewAuthorizationCodeHandler(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	return client.Connect(ctx, &mcp.StreamableClientTransport{Endpoint: e.url + "/mcp", OAuthHandler: handler}, nil)
}

// An mcpRemote is a process of mcp-remote, which brings the login in the browser to
// programs that speak to a process.
type mcpRemote struct {
	output  *bufio.Scanner // answers, a line each
	lines   *bufio.Scanner // what it says to people
	printed string
}

// startMCPRemote has it connect, and returns the address that it opens in a browser.
func startMCPRemote(t *testing.T, e *example) (remote *mcpRemote, address string) {
	t.Helper()
	needs.Program(t, "node", "node")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	cmd := exec.CommandContext(ctx, "node", filepath.Join(npmFolder(t), "node_modules/mcp-remote/dist/proxy.js"),
		e.url+"/mcp", loadtest.FreePorts(1)[0], "--host", "127.0.0.1", "--allow-http", "--transport", "http-only")
	home := t.TempDir()
	cmd.Env = append(os.Environ(), "HOME="+home, "MCP_REMOTE_CONFIG_DIR="+home)
	stderr, err1 := cmd.StderrPipe()
	input, err2 := cmd.StdinPipe()
	output, err3 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, err3, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); cmd.Wait() })
	fmt.Fprintln(input, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18",`+
		`"capabilities":{},"clientInfo":{"name":"test","version":"1"}}}`)
	remote = &mcpRemote{output: bufio.NewScanner(output), lines: bufio.NewScanner(stderr)}
	if address = remote.waitFor(regexp.QuoteMeta(e.issuer().url) + `/oauth2/authorize\?\S+`); address == "" {
		t.Fatalf("it opens no browser:\n%s", remote.printed)
	}
	return remote, address
}

// waitFor reads what it says to people until a pattern is in a line, and returns what
// matches; empty: it ended before.
func (m *mcpRemote) waitFor(pattern string) string {
	wanted := regexp.MustCompile(pattern)
	for m.lines.Scan() {
		m.printed += m.lines.Text() + "\n"
		if found := wanted.FindString(m.lines.Text()); found != "" {
			return found
		}
	}
	return ""
}

// protocol 28, 34, 47, 53
func TestMCPRemoteUsesAGuardedServer(t *testing.T) {
	t.Parallel()
	e := startMCP(t)
	remote, address := startMCPRemote(t, e)
	go remote.waitFor("never said") // it stops where nobody reads what it says
	answerProgram(t, e.gateway, address, "allow", nil)
	for remote.output.Scan() {
		var message struct {
			ID     int `json:"id"`
			Result struct {
				Server struct {
					Name string `json:"name"`
				} `json:"serverInfo"`
			} `json:"result"`
		}
		if err := json.Unmarshal(remote.output.Bytes(), &message); err != nil {
			t.Fatalf("%v: %s", err, remote.output.Text())
		}
		if message.ID == 1 {
			if message.Result.Server.Name == "" {
				t.Errorf("answered %s", remote.output.Text())
			}
			return
		}
	}
	t.Error("it answered nothing")
}

// protocol 49
func TestMCPRemoteHearsThatItWasDenied(t *testing.T) {
	t.Parallel()
	e := startMCP(t)
	remote, address := startMCPRemote(t, e)
	answerProgram(t, e.gateway, address, "deny", nil)
	if remote.waitFor("access_denied") == "" {
		t.Errorf("it does not say that it was denied:\n%s", remote.printed)
	}
}
