package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is no mistake by itself and will surprise is said when the configuration is
// loaded, and when it is validated, once each time.
func TestWhatWillSurpriseIsWarnedAbout(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	whole, err := os.ReadFile(g.config)
	if err != nil {
		t.Fatal(err)
	}
	keys := fileOf(t, "builder 0123456789 products:read products:raed")
	for name, test := range map[string]struct{ before, after, warning string }{
		"no site": {"\tdevice_login\n\tdevice_auth", "\tdevice_auth", "no site serves the issuer"},
		"another site": {"issuer " + g.url, "issuer https://connect.example.com",
			"is in no site of the issuer's host"},
		"an audience": {"device_auth /api/* products:read",
			"device_auth /api/* {\n\t\taudience https://nobody.example\n\t}", "audiences alone that no token has"},
		"a scope": {"device_auth /api/* products:read", "device_auth /api/* products:raed",
			"a scope that no client may have"},
		"the scope of a key": {"device_auth /api/* products:read",
			"device_auth /api/* {\n\t\tscopes products:read\n\t\tlegacy X-Api-Key " + keys + "\n\t}",
			"an old API key has a scope that no guard asks for"},
		"a storage": {"\tdefault_bind", "\tstorage file_system " + g.dir + "/elsewhere\n\tdefault_bind",
			"do not follow Caddy's storage option"},
		"admin off": {"admin " + g.admin, "admin off", "with admin off nobody can look at grants"},
		"out of reach": {"\tdevice_auth /api/*",
			"\trespond /* gone\n\troute {\n\t\trespond gone\n\t\tdevice_auth\n\t}\n\tdevice_auth /api/*",
			"a device_auth is never reached"},
		"nothing wrong": {"", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(string(whole), test.before, test.after, 1)
			if err := os.WriteFile(g.config, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := g.run("validate", "--config", g.config)
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if test.warning == "" && strings.Contains(out, `"logger":"device_login"`) {
				t.Errorf("a warning of nothing:\n%s", out)
			}
			if test.warning != "" && strings.Count(out, test.warning) != 1 {
				t.Errorf("want once %q in:\n%s", test.warning, out)
			}
			if strings.Contains(out, "the device login serves") {
				t.Errorf("it was started:\n%s", out)
			}
		})
	}
}

// fileOf makes a file with a text, and returns its path.
func fileOf(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// One line says what was started, and whether people can sign in.
func TestStartIsOneLine(t *testing.T) {
	t.Parallel()
	g := start(t)
	const line = `"msg":"the device login serves"`
	g.log.wait(t, line)
	log := g.log.String()
	_, after, _ := strings.Cut(log, line)
	after, _, _ = strings.Cut(after, "\n")
	for _, want := range []string{`"issuer":"` + g.url, `"store":"badger ` + g.dir, `"clients":2`,
		`"upstreams":["demo: found"]`} {
		if !strings.Contains(after, want) {
			t.Errorf("want %s in %s", want, after)
		}
	}
	if strings.Count(log, line) != 1 || strings.Contains(log, "no site serves") ||
		strings.Contains(log, "do not follow") {
		t.Errorf("there are other lines:\n%s", log)
	}
	away := newGateway(t)
	away.configure(func(s string) string {
		s = strings.Replace(s, "demo "+away.upstream, "demo "+away.legacy, 1) // which is no OpenID provider
		return strings.Replace(s, "scopes openid profile email groups", "scopes openid", 1)
	})
	away.start()
	away.log.wait(t, line)
	log = away.log.String()
	at := strings.LastIndex(log[:strings.Index(log, line)], "\n") + 1
	after, _, _ = strings.Cut(log[at:], "\n")
	if !strings.Contains(after, `"level":"warn"`) || !strings.Contains(after, "it is no OpenID provider") {
		t.Errorf("an upstream that is none: %s", after)
	}
}
