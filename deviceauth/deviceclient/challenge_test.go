package deviceclient

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// refuses is an API's 401.
func refuses(challenges ...string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Www-Authenticate"] = challenges
		w.WriteHeader(http.StatusUnauthorized)
	}
}

func TestServerIsFoundFromTheChallenge(t *testing.T) {
	t.Parallel()
	as := server{}
	issuer := as.start(t)
	as["/.well-known/oauth-authorization-server"] = metadata(issuer.URL)
	host := strings.TrimPrefix(issuer.URL, "http://")
	tests := []struct {
		name      string
		challenge []string // META is where the API describes itself
		described string   // path of that
		resource  string   // path of what it calls itself there
		want      string   // path of the resource that tokens are asked for; none: no server is found
	}{
		{"by the description that it names", []string{`Bearer realm="x", resource_metadata="META"`},
			"/v2/.well-known/oauth-protected-resource", "/v2", "/v2"},
		{"beside Basic", []string{`Basic realm="x"`, `Bearer resource_metadata="META"`}, "/elsewhere", "/v2", "/v2"},
		{"by the realm, where nothing is described",
			[]string{`Bearer realm="` + issuer.URL + `", resource_metadata="META"`}, "", "", "none"},
		{"by the host in the realm", []string{`Bearer realm="` + host + `"`}, "", "", "none"},
		{"not by a realm of another scheme", []string{`Basic realm="` + issuer.URL + `"`}, "", "", ""},
		{"not by a realm that is no server", []string{`Bearer realm="the API"`}, "", "", ""},
		{"not by a description of something else", []string{`Bearer resource_metadata="META"`},
			"/elsewhere", "/v3", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			api := server{}
			site := api.start(t)
			for i, c := range test.challenge {
				test.challenge[i] = strings.ReplaceAll(c, "META", site.URL+test.described)
			}
			api["/v2/things"] = refuses(test.challenge...)
			if test.described != "" {
				api[test.described] = protected(site.URL+test.resource, issuer.URL)
			}
			got, err := Discover(t.Context(), nil, site.URL+"/v2/things")
			switch {
			case test.want == "" && err == nil:
				t.Errorf("found %+v", got)
			case test.want == "none" && (err != nil || got.Issuer != issuer.URL || got.Resource != ""):
				t.Errorf("got %+v, %v", got, err)
			case test.want != "" && test.want != "none" &&
				(err != nil || got.Issuer != issuer.URL || got.Resource != site.URL+test.want):
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestDescriptionOnAnotherSiteIsNotFetched(t *testing.T) {
	t.Parallel()
	other, api := server{}, server{}
	foreign, site := other.start(t), api.start(t)
	other["/about"] = func(http.ResponseWriter, *http.Request) { t.Error("it was asked for") }
	api["/"] = refuses(`Bearer resource_metadata="` + foreign.URL + `/about"`)
	if got, err := Discover(t.Context(), nil, site.URL+"/"); err == nil {
		t.Errorf("found %+v", got)
	}
}

// A token for one API of a site is not taken for that of another.
func TestTokensOfTwoResourcesAreKeptApart(t *testing.T) {
	t.Parallel()
	s := Server{API: "https://api.example.com", Issuer: "https://login.example.com"}
	v2, mcp := s, s
	v2.Resource, mcp.Resource = s.API+"/v2", s.API+"/mcp"
	if purposeOf(v2, Options{}).name() == purposeOf(mcp, Options{}).name() {
		t.Error("they have one file")
	}
	if o := (Options{Audience: s.API}); purposeOf(v2, o).name() != purposeOf(mcp, o).name() {
		t.Error("one audience has two files")
	}
}

// A site whose guard knows no resource of that URL says so, which is passed on.
func TestSiteSaysThatNoTokenIsForTheURL(t *testing.T) {
	t.Parallel()
	as, api := server{}, server{}
	issuer, site := as.start(t), api.start(t)
	as["/.well-known/oauth-authorization-server"] = metadata(issuer.URL)
	api["/v2"] = refuses(`Bearer realm="` + issuer.URL + `"`)
	api["/.well-known/oauth-protected-resource/v2"] = func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, `{"error":"invalid_target","error_description":"tokens are for: https://a.example\u001b[2J"}`)
	}
	got, err := Discover(t.Context(), nil, site.URL+"/v2")
	if err != nil || got.Issuer != issuer.URL ||
		!strings.HasPrefix(got.NoResource, "tokens are for: https://a.example") ||
		strings.Contains(got.NoResource, "\x1b") {
		t.Errorf("got %+v, %v", got, err)
	}
}
