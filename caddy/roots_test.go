package main

import (
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// behindTLS puts a server before a gateway whose certificate is of an authority that
// nobody knows, and returns the server's URL and the file with the certificate.
func behindTLS(t *testing.T, g *gateway) (issuer, ca string) {
	t.Helper()
	to, err := url.Parse(g.url)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
	server := httptest.NewTLSServer(proxy)
	t.Cleanup(server.Close)
	ca = filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(ca, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return server.URL, ca
}

// unknownToken is plausible, but for that no key of the issuer signed it: whoever is to
// tell has to ask for the keys.
func unknownToken(issuer string) string {
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	claims := fmt.Sprintf(`{"iss":%q,"aud":[%q],"sub":"x","client_id":"x","exp":4102444800}`, issuer, issuer)
	return part(`{"alg":"ES256","typ":"at+jwt","kid":"x"}`) + "." + part(claims) + "." + part(strings.Repeat("x", 64))
}

// What is asked over https may have a certificate of a company's own authority.
func TestCertificateAuthorityOfOnesOwn(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	issuer, ca := behindTLS(t, g)
	g.configure(func(s string) string {
		s = strings.Replace(s, "issuer "+g.url, "issuer "+issuer, 1)
		return strings.Replace(s, "\tbrand", "\t"+edgeClient+"\n\t\tbrand", 1)
	})
	g.start()
	trusting := "\t\tca " + ca + "\n"
	for lines, want := range map[string]int{"": http.StatusServiceUnavailable, trusting: http.StatusUnauthorized} {
		far := *g
		far.url = issuer
		guard := far.edge(lines)
		if status, body := guard.api(unknownToken(issuer)); status != want {
			t.Errorf("a guard with %q: %d, want %d: %s\n%s", lines, status, want, body, guard.log)
		}
	}
	if out, _ := g.check(issuer); !strings.Contains(out, "✗ reach.tls") {
		t.Errorf("a check without --ca: %s", out)
	}
	out, _ := g.check("--ca", ca, issuer)
	if !strings.Contains(out, "✓ reach.tls") || !strings.Contains(out, "✓ reach.http") {
		t.Errorf("a check with --ca: %s", out)
	}
	if out, err := g.run("device-login", "--no-keep", issuer); err == nil ||
		!strings.Contains(out, "unknown authority") {
		t.Errorf("a login without --ca: %v %s", err, out)
	}
	_, err := g.prompted(func(*device) {
		for _, pending := range g.grants("state=pending&client=device-login") { // the check has left one, too
			g.ask("DELETE", "grants/"+pending.ID, "")
		}
	}, "device-login", "--no-keep", "--ca", ca, issuer)
	if code := exitCode(t, err, ""); code != 3 {
		t.Errorf("a login with --ca exits with %d", code)
	}
	out, err = g.run("device-login", "--ca", g.config, issuer)
	if err == nil || !strings.Contains(out, "certificates in PEM") {
		t.Errorf("with a file that has none: %v %s", err, out)
	}
}

// A browser is sent to an upstream of which the gateway has the metadata.
func TestUpstreamWithACertificateAuthorityOfItsOwn(t *testing.T) {
	t.Parallel()
	idp := newGateway(t)
	provider, ca := behindTLS(t, idp)
	idp.configure(func(s string) string { return strings.Replace(s, "issuer "+idp.url, "issuer "+provider, 1) })
	idp.start() // it has metadata, which is all that is looked at here
	for lines, want := range map[string]int{"": http.StatusServiceUnavailable, "ca " + ca: http.StatusSeeOther} {
		g := newGateway(t)
		g.configure(func(s string) string {
			return strings.Replace(s, "demo "+g.upstream+" {", "demo "+provider+" {\n\t\t\t"+lines, 1)
		})
		g.start()
		response, _ := g.request("GET", "/device/sign-in?with=demo", http.Header{})
		to := response.Header.Get("Location")
		if response.StatusCode != want || lines != "" && !strings.HasPrefix(to, provider) {
			t.Errorf("with %q: %d to %s, want %d:\n%s", lines, response.StatusCode, to, want, g.log)
		}
	}
}

// A gateway that reaches its upstream only by a proxy takes the one of its environment.
func TestProxyOfTheEnvironmentIsUsed(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 10)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Method + " " + r.Host
		w.WriteHeader(http.StatusBadGateway)
	}))
	defer proxy.Close()
	g := newGateway(t)
	g.env = append(g.env, "HTTPS_PROXY="+proxy.URL)
	host := net.JoinHostPort("login.example.invalid", "443")
	g.configure(func(s string) string {
		return strings.Replace(s, "demo "+g.upstream+" {", "demo https://login.example.invalid {", 1)
	})
	g.start()
	response, err := http.Get(g.url + "/device/sign-in?with=demo")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	select {
	case got := <-asked:
		if got != "CONNECT "+host {
			t.Errorf("the proxy is asked %s", got)
		}
	case <-time.After(5 * time.Second):
		t.Errorf("the proxy is not asked:\n%s", g.log)
	}
}
