package main

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// What is counted is there at 0 before it is counted first: of a counter that appears
// with its first count, Prometheus' increase() sees nothing, say of a stolen token.
func TestMetricsAreThereFromTheStart(t *testing.T) {
	t.Parallel()
	g := start(t)
	for metric, values := range map[string][]string{
		"caddy_device_login_events_total{event=":         deviceauth.EventNames(),
		"caddy_device_login_polls_total{answer=":         deviceauth.PollAnswers(),
		"caddy_device_auth_refused_tokens_total{reason=": deviceauth.TokenReasons(),
		"caddy_device_auth_requests_total{decision=": {"admitted", "unavailable",
			"unknown_key"},
		"caddy_device_login_store_duration_seconds_count{operation=": {"create",
			"by_user_code", "by_owner"},
		`caddy_device_login_upstream_errors_total{upstream="demo",operation=`: {"discovery", "keys",
			"token", "userinfo"},
		`caddy_device_login_upstream_duration_seconds_count{upstream="demo",operation=`: {"token", "userinfo"},
	} {
		for _, value := range values {
			name := sorted(metric + `"` + value + `"}`)
			if at := g.metric(name); at != "0" {
				t.Errorf("%s is %q", name, at)
			}
		}
	}
	response, err := http.Get("http://" + g.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || !strings.Contains(string(text), "\ncaddy_device_login_build_info{caddy=") {
		t.Error("there is no build info", err)
	}
}

// sorted puts the label operation before upstream, as metrics have them.
func sorted(name string) string {
	head, rest, found := strings.Cut(name, `{upstream="demo",`)
	if !found {
		return name
	}
	return head + "{" + strings.TrimSuffix(rest, "}") + `,upstream="demo"}`
}

func TestUpstreamsAreMeasured(t *testing.T) {
	t.Parallel()
	g := start(t)
	g.connect("alice")
	const metric = "caddy_device_login_upstream_"
	for operation, want := range map[string]string{"discovery": "1", "token": "1"} {
		about := `{operation="` + operation + `",upstream="demo"}`
		if got := g.metric(metric + "duration_seconds_count" + about); got != want {
			t.Errorf("%s: asked %q times", operation, got)
		}
		if got := g.metric(metric + "errors_total" + about); got != "0" {
			t.Errorf("%s: failed %q times", operation, got)
		}
	}
	away := newGateway(t)
	away.configure(func(s string) string {
		return strings.Replace(s, "demo "+away.upstream, "demo http://localhost:1", 1)
	})
	away.start()
	response, err := http.Get(away.url + "/device/sign-in?" + url.Values{"with": {"demo"}}.Encode())
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if got := away.metric(metric + `errors_total{operation="discovery",upstream="demo"}`); got == "0" || got == "" {
		t.Errorf("one that is away failed %q times", got)
	}
}
