package upstreamidp

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/memstore"
)

func TestConfigIsRefused(t *testing.T) {
	good := Config{ID: "work", Issuer: "https://login.example.com", ClientID: "gateway"}
	tests := []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"no id", func(c *Config) { c.ID = "" }, "lower-case"},
		{"an id that breaks subjects", func(c *Config) { c.ID = "a|b" }, "lower-case"},
		{"an id that begins with a dash", func(c *Config) { c.ID = "-a" }, "lower-case"},
		{"http", func(c *Config) { c.Issuer = "http://login.example.com" }, "want https"},
		{"no URL", func(c *Config) { c.Issuer = "login.example.com" }, "want an URL"},
		{"a query", func(c *Config) { c.Issuer += "?a=b" }, "without query"},
		{"a fragment", func(c *Config) { c.Issuer += "#a" }, "fragment"},
		{"a password", func(c *Config) { c.Issuer = "https://a:b@login.example.com" }, "want an URL"},
		{"no client", func(c *Config) { c.ClientID = "" }, "client_id"},
		{"a user who is a token", func(c *Config) { c.UserClaim = "jti" }, "about a person"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := good
			test.change(&c)
			if err := c.Check(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			if p, err := New(c); p != nil || err == nil {
				t.Errorf("New makes %v, %v of it", p, err)
			}
		})
	}
	for _, issuer := range []string{good.Issuer, "https://login.example.com/realms/a/", "http://localhost:9000",
		"http://127.0.0.1", "http://[::1]:9000"} {
		c := good
		if c.Issuer = issuer; c.Check() != nil {
			t.Error(c.Check())
		}
	}
}

func TestRevalidateNeedsDocumentsAndAKey(t *testing.T) {
	good := Config{
		ID: "work", Issuer: "https://login.example.com", ClientID: "gateway",
		Revalidate: true, Documents: memstore.New(), Key: func() [32]byte { return [32]byte{1} },
	}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Config){
		"no Documents":  func(c *Config) { c.Documents = nil },
		"32 zero bytes": func(c *Config) { c.Key = func() [32]byte { return [32]byte{} } },
	} {
		c := good
		change(&c)
		if p, err := New(c); p != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, %v, want %q", p, err, want)
		}
	}
}

func TestZeroConfigMeansTheDocumentedDefaults(t *testing.T) {
	p, err := New(Config{ID: "work", Issuer: "https://login.example.com", ClientID: "gateway"})
	if err != nil {
		t.Fatal(err)
	}
	if p.ID() != "work" || p.Label() != "work" || p.cfg.HTTPClient.Timeout != 10*time.Second {
		t.Errorf("got %+v", p.cfg)
	}
	if want := []string{"openid", "profile", "email"}; !slices.Equal(p.cfg.Scopes, want) {
		t.Errorf("scopes %v, want %v", p.cfg.Scopes, want)
	}
}

func TestSecretOfTheClientDoesNotShow(t *testing.T) {
	secret := Config{ClientSecret: "hunter2"}
	if text := fmt.Sprintf("%+v %#v", secret, secret); strings.Contains(text, "hunter2") {
		t.Errorf("the secret shows: %s", text)
	}
}
