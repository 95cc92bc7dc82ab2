package deviceclient

import (
	"net/url"
	"strings"
	"testing"
)

func protected(resource string, servers ...string) map[string]any {
	return map[string]any{"resource": resource, "authorization_servers": servers}
}

func TestMetadataAreOfTheAPIThatWasAsked(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, resource string
		ok             bool
	}{
		{"itself", "https://api.example.com/v2/things", true},
		{"with a slash", "https://api.example.com/v2/things/", true},
		{"a part of the site", "https://api.example.com/v2", true},
		{"the site", "https://api.example.com", true},
		{"the site, with its port", "HTTPS://API.example.com:443/", true},
		{"nothing", "", false},
		{"no URL", "api", false},
		{"another site", "https://bank.example/v2/things", false},
		{"another port", "https://api.example.com:8443/v2/things", false},
		{"without TLS", "http://api.example.com/v2/things", false},
		{"another part of the site", "https://api.example.com/v1", false},
		{"half a segment", "https://api.example.com/v2/thing", false},
		{"below", "https://api.example.com/v2/things/1", false},
		{"a user who looks like the site", "https://api.example.com@bank.example/", false},
	}
	api, err := url.Parse("https://api.example.com/v2/things")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := resource{Resource: test.resource,
				Servers: []string{"https://login.example.com"}}.check("https://metadata", api)
			if (err == nil) != test.ok || err != nil &&
				!strings.Contains(err.Error(), `want "https://api.example.com/v2/things"`) {
				t.Error(err)
			}
		})
	}
}

func TestMetadataOfAnotherResourceAreNotUsed(t *testing.T) {
	t.Parallel()
	const wellKnown = "/.well-known/oauth-protected-resource"
	as, site := server{}, server{}
	issuer, api := as.start(t), site.start(t)
	as["/.well-known/oauth-authorization-server"] = metadata(issuer.URL)
	site[wellKnown+"/v2"] = protected("https://bank.example", issuer.URL)
	if got, err := Discover(t.Context(), nil, api.URL+"/v2"); err == nil ||
		!strings.Contains(err.Error(), `about the resource "https://bank.example"`) {
		t.Errorf("got %+v, %v", got, err)
	}
	site[wellKnown] = protected(api.URL, issuer.URL)
	if got, err := Discover(t.Context(), nil, api.URL+"/v2"); err != nil || got.Issuer != issuer.URL {
		t.Errorf("the site's own metadata: %+v, %v", got, err)
	}
	for _, bad := range []string{"http://bank.example", "login", "https://login.example/?a=b"} {
		site[wellKnown] = protected(api.URL, bad)
		if got, err := Discover(t.Context(), nil, api.URL); err == nil ||
			!strings.Contains(err.Error(), "authorization server: issuer") {
			t.Errorf("%s: got %+v, %v", bad, got, err)
		}
	}
}

func TestPersonIsToldWhoWouldHaveTheToken(t *testing.T) {
	t.Parallel()
	s := newStrict(t, 3600)
	for api, warned := range map[string]bool{s.Issuer: false, "https://api.example.com": true} {
		s.API = api
		var shown Prompt
		o := s.options()
		o.Show = func(p Prompt) { shown = p }
		if _, err := Login(t.Context(), s.Server, o); err != nil {
			t.Fatal(err)
		}
		named := strings.Contains(shown.Warning, "API at "+api+" names the server "+s.Issuer) &&
			strings.Contains(shown.Warning, api+" is given a token")
		if named != warned || !warned && shown.Warning != "" {
			t.Errorf("for %s, told %q", api, shown.Warning)
		}
	}
}
