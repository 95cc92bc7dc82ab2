package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
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

	"github.com/deviceauth/caddy-deviceauth/internal/needs"
)

// startMCP runs the example for MCP before a real MCP server, npm's server-everything.
func startMCP(t *testing.T) *example {
	t.Helper()
	folder := npmFolder(t)
	port := freePorts(t, 1)[0]
	server := exec.Command("node", filepath.Join(folder,
		"node_modules/@modelcontextprotocol/server-everything/dist/index.js"), "streamableHttp")
	server.Env = append(os.Environ(), "PORT="+port)
	said, err := server.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Process.Kill(); server.Wait() })
	lines := bufio.NewScanner(said)
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
	})
}

// The official SDK for Go, from the guarded URL alone to the tools of the server.
//
// protocol 9, 28, 34, 47, 52, 53
func TestGoSDKForMCPUsesAGuardedServer(t *testing.T) {
	e := startMCP(t)
	for name, known := range map[string]func(*auth.AuthorizationCodeHandlerConfig, string){
		"configured": func(c *auth.AuthorizationCodeHandlerConfig, _ string) {
			c.PreregisteredClient = &oauthex.ClientCredentials{ClientID: "assistant"}
		},
		"registered": func(c *auth.AuthorizationCodeHandlerConfig, redirect string) {
			c.DynamicClientRegistrationConfig = &auth.DynamicClientRegistrationConfig{
				Metadata: &oauthex.ClientRegistrationMetadata{
					RedirectURIs: []string{redirect}, ClientName: "Go SDK", TokenEndpointAuthMethod: "none",
					GrantTypes: []string{"authorization_code", "refresh_token"},
				},
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			answers := make(chan *auth.AuthorizationResult, 1)
			listener := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				q := r.URL.Query()
				answers <- &auth.AuthorizationResult{Code: q.Get("code"), State: q.Get("state"), Iss: q.Get("iss")}
			}))
			defer listener.Close()
			config := &auth.AuthorizationCodeHandlerConfig{
				RedirectURL: listener.URL + "/callback", RequestRefreshToken: true,
				AuthorizationCodeFetcher: func(
					ctx context.Context, a *auth.AuthorizationArgs,
				) (*auth.AuthorizationResult, error) {
					go answerProgram(t, e.gateway, a.URL, "allow", nil)
					select {
					case answer := <-answers:
						return answer, nil
					case <-ctx.Done():
						return nil, ctx.Err()
					}
				},
			}
			known(config, config.RedirectURL)
			handler, err := auth.NewAuthorizationCodeHandler(config)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil)
			session, err := client.Connect(ctx, &mcp.StreamableClientTransport{
				Endpoint: e.url + "/mcp", OAuthHandler: handler,
			}, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer session.Close()
			tools, err := session.ListTools(ctx, nil)
			if err != nil || len(tools.Tools) == 0 {
				t.Errorf("%v, %v", tools, err)
			}
		})
	}
}

// mcp-remote brings the login in the browser to programs that speak to a process.
//
// protocol 28, 34, 47, 53
func TestMCPRemoteUsesAGuardedServer(t *testing.T) {
	e := startMCP(t)
	needs.Program(t, "node", "node")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", filepath.Join(npmFolder(t), "node_modules/mcp-remote/dist/proxy.js"),
		e.url+"/mcp", freePorts(t, 1)[0], "--host", "127.0.0.1", "--allow-http", "--transport", "http-only")
	home := t.TempDir()
	cmd.Env = append(os.Environ(), "HOME="+home, "MCP_REMOTE_CONFIG_DIR="+home)
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cancel()
	fmt.Fprintln(input, `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18",`+
		`"capabilities":{},"clientInfo":{"name":"test","version":"1"}}}`)
	// It opens a browser, and says where else to go.
	asked, told := regexp.MustCompile(regexp.QuoteMeta(e.issuer().url)+`/oauth2/authorize\?\S+`), ""
	lines := bufio.NewScanner(said)
	for lines.Scan() && !asked.MatchString(lines.Text()) {
		told += lines.Text() + "\n"
	}
	address := asked.FindString(lines.Text()) // before the goroutine has the scanner
	go func() {
		for lines.Scan() { // it stops where nobody reads what it says
		}
	}()
	if address == "" {
		t.Fatalf("it asks nobody:\n%s", told)
	}
	answerProgram(t, e.gateway, address, "allow", nil)
	for answers := bufio.NewScanner(output); answers.Scan(); {
		var message struct {
			ID     int `json:"id"`
			Result struct {
				Server struct {
					Name string `json:"name"`
				} `json:"serverInfo"`
			} `json:"result"`
		}
		if err := json.Unmarshal(answers.Bytes(), &message); err != nil {
			t.Fatalf("%v: %s", err, answers.Text())
		}
		if message.ID == 1 {
			if message.Result.Server.Name == "" {
				t.Errorf("answered %s", answers.Text())
			}
			return
		}
	}
	t.Errorf("it answered nothing:\n%s", told)
}
