package main

import (
	"net/http"
	"strings"
	"testing"
)

// startSeveral runs a gateway with two upstreams, which have the same people
// under the same subs, and a backend that tells whom it was told of.
func startSeveral(t *testing.T, user string) *gateway {
	t.Helper()
	g := newGateway(t)
	g.configure(func(s string) string {
		s = strings.Replace(s, "\t\t\tuser preferred_username\n", user, 1)
		begin := strings.Index(s, "\t\tupstream demo")
		end := begin + strings.Index(s[begin:], "\n\t\t}\n") + len("\n\t\t}\n")
		partner := strings.Replace(s[begin:end], "upstream demo", "upstream partner", 1)
		s = s[:end] + partner + "\t\t" + edgeClient + "\n" + s[end:]
		s = strings.Replace(s, g.url+"/device/callback",
			g.url+"/device/callback/demo "+g.url+"/device/callback/partner", 1)
		return strings.Replace(s, `"Remote-User":`, `"Remote-Upstream": "{header.Remote-Upstream}", "Remote-User":`, 1)
	})
	g.start()
	return g
}

// tokenOf connects a device for alice of an upstream.
func (g *gateway) tokenOf(upstream string) string {
	g.t.Helper()
	d, p := g.device(), newPerson(g.t, "alice")
	p.open(d.Full)
	p.submit("/device", "user_code", d.User)
	p.open("/device/sign-in?with=" + upstream)
	p.submit("/login", "user", "alice")
	p.sees("Connect Cool Gadget?")
	p.submit("/device/confirm", "answer", "allow")
	return d.poll().Access
}

// protocol 33
func TestUpstreamsAreNotEachOthersPeopleNearAndFar(t *testing.T) {
	t.Parallel()
	g := startSeveral(t, "")
	edge := g.edge("")
	for _, upstream := range []string{"demo", "partner"} {
		header := http.Header{"Authorization": {"Bearer " + g.tokenOf(upstream)}, "Remote-Upstream": {"root"},
			"Remote_upstream": {"root"}}
		for _, at := range []*gateway{g, edge} {
			_, body := at.request("GET", "/api/products", header)
			for _, want := range []string{`"Remote-User": "` + upstream + `|demo-alice"`,
				`"Remote-Upstream": "` + upstream + `"`} {
				if !strings.Contains(body, want) {
					t.Errorf("%s: no %s in:\n%s", at.url, want, body)
				}
			}
		}
	}
	if strings.Contains(g.log.String(), "can name the same person") {
		t.Error("subjects are warned about")
	}
}

// protocol 33
func TestOneUpstreamIsNotToldOf(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	g.configure(func(s string) string {
		s = strings.Replace(s, "\t\t\tuser preferred_username\n", "", 1)
		return strings.Replace(s, `"Remote-User":`, `"Remote-Upstream": "{header.Remote-Upstream}", "Remote-User":`, 1)
	})
	g.start()
	_, body := g.request("GET", "/api/products",
		http.Header{"Authorization": {"Bearer " + g.token()}, "Remote-Upstream": {"root"}, "REMOTE_UPSTREAM": {"root"}})
	if !strings.Contains(body, `"Remote-Upstream": "", "Remote-User": "demo-alice"`) {
		t.Errorf("the backend is told:\n%s", body)
	}
}

func TestUserLinesThatNameTheSamePersonAreWarnedAbout(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	g.configure(func(s string) string {
		return strings.Replace(s, "\t\tupstream demo",
			"\t\tupstream partner "+g.upstream+" {\n\t\t\tclient_id x\n\t\t\tuser email\n\t\t}\n\t\tupstream demo", 1)
	})
	if out, err := g.run("validate", "--config", g.config); err != nil ||
		!strings.Contains(out, "the user lines of the upstreams demo, partner can name the same person") {
		t.Errorf("%v\n%s", err, out)
	}
}
