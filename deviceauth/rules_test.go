package deviceauth_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// protocol 7
func TestConfigIsRefused(t *testing.T) {
	tests := []struct {
		name   string
		change func(*deviceauth.Config)
		want   string
	}{
		{"http on a host that only looks like localhost",
			func(c *deviceauth.Config) { c.Issuer = "http://a.localhost.example.com" }, "want https"},
		{"http beyond loopback", func(c *deviceauth.Config) { c.Issuer = "http://api.example.com" }, "want https"},
		{"an issuer with a query", func(c *deviceauth.Config) { c.Issuer += "?x" }, "without query"},
		{"no issuer", func(c *deviceauth.Config) { c.Issuer = "" }, "issuer"},
		{"a client twice", func(c *deviceauth.Config) { c.Clients = append(c.Clients, c.Clients[0]) }, "duplicate"},
		{"a client that forgot its secret", func(c *deviceauth.Config) { c.Clients[0].Public = false },
			"secret is empty"},
		{"a public client with a secret", func(c *deviceauth.Config) { c.Clients[1].Public = true }, "has no secret"},
		{"a client with an odd id", func(c *deviceauth.Config) { c.Clients[0].ID = "t\x01v" }, "printable ASCII"},
		{"a relative audience", func(c *deviceauth.Config) { c.Audience = []string{"/v2"} }, "absolute URI"},
		{"an unknown network policy", func(c *deviceauth.Config) { c.Network = "maybe" }, "off, warn or require"},
		{"a code that lasts a year", func(c *deviceauth.Config) { c.Lifetime.DeviceCode = 365 * 24 * time.Hour },
			"lifetime device_code"},
		{"an interval of an hour", func(c *deviceauth.Config) { c.Interval = time.Hour }, "interval"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := config()
			test.change(&c)
			if err := c.Check(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want something about %q", err, test.want)
			}
		})
	}
	if err := config().Check(); err != nil {
		t.Errorf("the good one: %v", err)
	}
}

func TestMask(t *testing.T) {
	tests := []struct {
		name, pattern, set string
		ok                 bool
	}{
		{"the default", "", "", true},
		{"nine digits", "***-***-***", "base10", true},
		{"eight digits", "****-****", "base10", false},
		{"own letters", "**********", "ABCDEFGH", true},
		{"lower-case letters", "********", "bcdfghjklmnpqrst", true},
		{"the same letter in both cases", "**********", "ABCDabcd", false},
		{"a character twice", "**********", "ABCDEFGG", false},
		{"no letters at all", "**********", "#+!?", false},
		{"a letter in the pattern", "****X****", "", false},
		{"too long", strings.Repeat("*", 33), "", false},
		{"one character", "********", "A", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if _, err := deviceauth.NewMask(test.pattern, test.set); (err == nil) != test.ok {
				t.Errorf("got %v", err)
			}
		})
	}
}

// protocol 36
func TestUserCodeIsReadAsPeopleTypeIt(t *testing.T) {
	for _, typed := range []string{"BCDF-GHJK", "bcdf ghjk", " bcdfghjk\n", "BCDF–GHJK", "BCDF—GHJK",
		"ＢＣＤＦ－ＧＨＪＫ", "b.c.d.f_g h j k", "BCDFーGHJK", "BCDF\u00adGHJK",
		`"BCDF-GHJK"`, "*BCDF-GHJK*", "BCDF-GHJK,", "“bcdf-ghjk”", "‘BCDF−GHJK’.", "<BCDF/GHJK>", "`BCDFGHJK`",
		"\ufeffBCDF\u200bGHJK"} {
		if code, ok := deviceauth.ParseUserCode(typed); !ok || code != "BCDFGHJK" {
			t.Errorf("%q: got %q, %v", typed, code, ok)
		}
	}
	for _, typed := range []string{"", "-", "\"*,", "BCDFGHJKß", "①BCDFGHJK", "BCDF\xffGHJK", "ВСDF",
		strings.Repeat("B", 129)} {
		if code, ok := deviceauth.ParseUserCode(typed); ok {
			t.Errorf("%q is read as %q", typed, code)
		}
	}
}

func FuzzParseUserCode(f *testing.F) {
	f.Add("BCDF-GHJK")
	f.Add("ｂ c\u2212d")
	f.Fuzz(func(t *testing.T, typed string) {
		code, ok := deviceauth.ParseUserCode(typed)
		if again, okAgain := deviceauth.ParseUserCode(string(code)); ok && (again != code || !okAgain) {
			t.Errorf("%q is %q, which is %q", typed, code, again)
		}
	})
}

func FuzzParseScope(f *testing.F) {
	f.Add("openid  read read")
	f.Add("a\tb")
	f.Fuzz(func(t *testing.T, text string) {
		scope, err := deviceauth.ParseScope(text)
		if err != nil {
			return
		}
		again, err := deviceauth.ParseScope(string(scope))
		if err != nil || again != scope || !scope.Within(again) {
			t.Errorf("%q is %q, which is %q, %v", text, scope, again, err)
		}
		for _, token := range scope.List() {
			if !scope.Has(token) {
				t.Errorf("%q lacks its own %q", scope, token)
			}
		}
	})
}

func TestScopeIsASet(t *testing.T) {
	s := deviceauth.NewScope("read", "write", "read")
	if s != "read write" || s.Has("rea") || s.Has("") || !s.Has("write") || !deviceauth.Scope("").Within(s) ||
		s.Within("read") {
		t.Errorf("%q is not the set of read and write", s)
	}
}

// protocol 44
func TestAllowPatterns(t *testing.T) {
	tests := []struct {
		pattern string
		yes, no []string
	}{
		{"*@example.com", []string{"a@example.com", "A@EXAMPLE.COM"},
			[]string{"a@example.com.evil", "a@evil-example.com@x", "example.com"}},
		{"alice@example.com", []string{"alice@example.com"}, []string{"malice@example.com"}},
		{"a*b*c@x", []string{"abc@x", "a1b2c@x"}, []string{"acb@x", "abc@xy"}},
		{"*", []string{"anybody@x"}, nil},
	}
	for _, test := range tests {
		t.Run(test.pattern, func(t *testing.T) {
			in(t, func(w *world) {
				for _, email := range test.yes {
					if !w.Permits(person("p", email, true)) {
						t.Errorf("%s is not permitted", email)
					}
					if w.Permits(person("p", email, false)) {
						t.Errorf("%s is permitted without being verified", email)
					}
				}
				for _, email := range test.no {
					if w.Permits(person("p", email, true)) {
						t.Errorf("%s is permitted", email)
					}
				}
			}, func(c *deviceauth.Config) { c.Allow["work"][0].Patterns = []string{test.pattern} })
		})
	}
}

func TestAnyRuleThatMatchesSuffices(t *testing.T) {
	in(t, func(w *world) {
		if !w.Permits(person("p", "p@evil.example", true)) || w.Permits(&deviceauth.Person{Upstream: "other"}) {
			t.Error("want the staff of this upstream, and nobody of another one")
		}
	}, func(c *deviceauth.Config) {
		c.Allow["work"] = append(c.Allow["work"],
			deviceauth.Allow{Claim: "groups", Patterns: []string{"admins", "staff"}})
	})
}

func TestSecretsHideThemselves(t *testing.T) {
	s := deviceauth.Secret("hunter2")
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if text := fmt.Sprintf(verb, struct{ S deviceauth.Secret }{s}); strings.Contains(text, "hunter2") ||
			strings.Contains(text, "68756e74") {
			t.Errorf("%s shows %s", verb, text)
		}
	}
	if text, _ := s.MarshalText(); strings.Contains(string(text), "hunter2") {
		t.Errorf("marshals as %s", text)
	}
}

// protocol 43
func TestPlainTakesOutWhatDeceives(t *testing.T) {
	if got := text.Plain("Cool\u202e tegdaG\x07\u200b\u2066!\xff"); got != "Cool tegdaG!" {
		t.Errorf("got %q", got)
	}
}

func TestEngineNeedsARefreshKey(t *testing.T) {
	in(t, func(w *world) {
		c := w.config
		c.RefreshKey = func() [32]byte { return [32]byte{} }
		e, err := deviceauth.New(c)
		if e != nil || err == nil || !strings.Contains(err.Error(), "RefreshKey: the key is missing") {
			t.Errorf("got %v, %v", e, err)
		}
	})
}
