package main

import (
	"net/http"
	"strings"
	"testing"
)

// Why a guard refused a token is in the metrics and, at debug level, in the log,
// with who sent it where that is known. Whoever sent it is told one of two things.
//
// protocol 30
func TestOperatorIsToldWhyATokenWasRefused(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	g.configure(withPathsToRefuse)
	g.start()
	alice, d := newPerson(t, "alice"), g.device()
	alice.allow(d)
	token := d.poll().Access
	header, payload, signature := jwtParts(t, token)
	challenged := "" // the client
	for _, test := range []struct {
		reason, path, token string
		status              int
		known               bool
	}{
		{"malformed", "/api/products", "nonsense", 401, false},
		{"signature", "/api/products", header + "." + payload + "." + flipped(signature), 401, false},
		{"audience", "/other/x", token, 401, true},
		{"scope", "/write/x", token, 403, true},
		{"revoked", "/api/products", token, 401, true},
	} {
		if test.reason == "revoked" {
			g.revoke(token)
		}
		if before := g.metric(`caddy_device_auth_refused_tokens_total{reason="` + test.reason + `"}`); before != "0" {
			t.Errorf("%s: the metric is %q before", test.reason, before)
		}
		response, _ := g.request("GET", test.path, http.Header{"Authorization": {"Bearer " + test.token}})
		if response.StatusCode != test.status {
			t.Errorf("%s: answered %d", test.reason, response.StatusCode)
		}
		if challenge := response.Header.Get("WWW-Authenticate"); test.status == 401 && test.path == "/api/products" {
			if challenged != "" && challenge != challenged {
				t.Errorf("%s: the client is told %s, and otherwise %s", test.reason, challenge, challenged)
			}
			challenged = challenge
		}
		if after := g.metric(`caddy_device_auth_refused_tokens_total{reason="` + test.reason + `"}`); after != "1" {
			t.Errorf("%s: the metric is %q", test.reason, after)
		}
		line := g.log.lineWith(t, `"reason":"`+test.reason+`"`)
		if strings.Contains(line, `"user":"alice"`) != test.known {
			t.Errorf("%s: the log says %s", test.reason, line)
		}
	}
	g.log.wait(t, `"user_id":"alice"`) // the access log of the 403
}

func jwtParts(t *testing.T, token string) (header, payload, signature string) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no JWT", token)
	}
	return parts[0], parts[1], parts[2]
}

// flipped changes a signature's first character.
func flipped(signature string) string {
	if signature[0] == 'A' {
		return "B" + signature[1:]
	}
	return "A" + signature[1:]
}

// withPathsToRefuse adds sites' paths that need what the token of a device has not.
func withPathsToRefuse(s string) string {
	s = strings.Replace(s, "default_bind", "debug\n\tdefault_bind", 1)
	return strings.Replace(s, "\tdevice_auth /api/* products:read\n", `	log
device_auth /api/* products:read
device_auth /write/* products:write
device_auth /other/* {
	audience http://other.example
}
`, 1)
}

// lineWith waits for a line of the log that contains a text, and returns it.
func (l *logBuffer) lineWith(t *testing.T, text string) string {
	t.Helper()
	l.wait(t, text)
	log := l.String()
	line := log[strings.LastIndex(log[:strings.Index(log, text)], "\n")+1:]
	line, _, _ = strings.Cut(line, "\n")
	return line
}
