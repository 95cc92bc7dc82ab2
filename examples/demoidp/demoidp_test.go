package demoidp

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func TestIssuerBeyondThisMachineIsRefused(t *testing.T) {
	for _, issuer := range []string{"https://login.example.com", "http://192.0.2.1:8081",
		"http://localhost.evil.example", "http://localhost@evil.example", "localhost:8081", ""} {
		h := &Handler{Issuer: issuer, ClientID: "a", ClientSecret: "b", RedirectURIs: []string{callback}}
		if err := h.Provision(caddy.Context{}); err == nil || !strings.Contains(err.Error(), "loopback") {
			t.Errorf("%q: %v", issuer, err)
		}
		if err := h.Cleanup(); err != nil {
			t.Errorf("cleaning up what was never held: %v", err)
		}
	}
}

func TestHalfAConfigurationIsRefused(t *testing.T) {
	tests := []struct {
		name string
		h    Handler
		want string
	}{
		{"a path", Handler{Issuer: "http://localhost:8081/", ClientID: "a", ClientSecret: "b",
			RedirectURIs: []string{callback}}, "slash"},
		{"no client", Handler{Issuer: "http://localhost:8081"}, "want client"},
		{"no secret", Handler{Issuer: "http://localhost:8081", ClientID: "a", RedirectURIs: []string{callback}},
			"want client"},
		{"a word for a URI", Handler{Issuer: "http://localhost:8081", ClientID: "a", ClientSecret: "b",
			RedirectURIs: []string{"c"}}, "redirect URI"},
		{"a script", Handler{Issuer: "http://localhost:8081", ClientID: "a", ClientSecret: "b",
			RedirectURIs: []string{"javascript:alert(1)"}}, "redirect URI"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if err := test.h.Provision(caddy.Context{}); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// Caddy starts the new configuration before it cleans the old one up.
func TestMemoryOutlivesAReload(t *testing.T) {
	handler := func(secret string) *Handler {
		h := &Handler{Issuer: "http://localhost:8999", ClientID: "a", ClientSecret: secret,
			RedirectURIs: []string{callback}}
		if err := h.Provision(caddy.Context{}); err != nil {
			t.Fatal(err)
		}
		return h
	}
	before := handler("old")
	after := handler("new")
	for range 2 { // a second time must not take what the new one holds
		if err := before.Cleanup(); err != nil {
			t.Fatal(err)
		}
	}
	if before.provider.storage.memory != after.provider.storage.memory {
		t.Error("a reload forgets the keys and who has signed in")
	}
	if users, _ := memories.References("http://localhost:8999"); users != 1 {
		t.Errorf("%d hold the memory, want 1", users)
	}
	if err := after.Cleanup(); err != nil {
		t.Fatal(err)
	}
	if _, there := memories.References("http://localhost:8999"); there {
		t.Error("the memory is held by nobody, and there")
	}
}

func TestRequestFromBeyondThisMachineIsRefused(t *testing.T) {
	h := &Handler{Issuer: "http://localhost:8998", ClientID: "a", ClientSecret: "b", RedirectURIs: []string{callback}}
	if err := h.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	defer h.Cleanup()
	tests := []struct {
		here, there, host string
		status            int
	}{
		{"127.0.0.1:8081", "127.0.0.1:40000", "localhost:8081", 200},
		{"[::1]:8081", "[::1]:40000", "[::1]:8081", 200},
		{"[::ffff:127.0.0.1]:8081", "127.0.0.1:40000", "localhost", 200},
		{"192.0.2.1:8081", "127.0.0.1:40000", "localhost:8081", 403},
		{"127.0.0.1:8081", "192.0.2.9:40000", "localhost:8081", 403},
		{"127.0.0.1:8081", "127.0.0.1:40000", "rebound.example:8081", 403},
	}
	for _, test := range tests {
		addr, err := net.ResolveTCPAddr("tcp", test.here)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest("GET", "/", nil)
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, addr))
		r.RemoteAddr, r.Host = test.there, test.host
		w := httptest.NewRecorder()
		err = h.ServeHTTP(w, r, nil)
		if err != nil || w.Code != test.status ||
			w.Code == 403 && !strings.Contains(w.Body.String(), "only the machine") {
			t.Errorf("%+v: %d %q, %v", test, w.Code, w.Body, err)
		}
	}
}

func TestCaddyfile(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"good", "demo_idp {\n issuer http://localhost:8081\n client a b c\n}", ""},
		{"an argument", "demo_idp x", "argument"},
		{"an unknown word", "demo_idp {\n user alice\n}", `no subdirective "user"`},
		{"half a client", "demo_idp {\n client a\n}", "client: want"},
		{"two clients", "demo_idp {\n client a b c\n client d e f\n}", "duplicate client"},
		{"no issuer", "demo_idp {\n issuer\n}", "issuer: want"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := new(Handler)
			err := h.UnmarshalCaddyfile(caddyfile.NewTestDispenser(test.text))
			if test.want == "" && (err != nil || !slices.Equal(h.RedirectURIs, []string{"c"})) ||
				test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %+v, %v", h, err)
			}
		})
	}
}
