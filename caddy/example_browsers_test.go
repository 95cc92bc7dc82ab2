package main

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// signInOfBrowsers plays a sign-in that was there before: it knows a browser by a
// cookie, and sends others to its own page.
func signInOfBrowsers(t *testing.T) *httptest.Server {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := r.Cookie("portal"); err != nil || c.Value != "bob" {
			http.Redirect(w, r, "https://portal.example.com/?rd="+url.QueryEscape(r.Header.Get("X-Forwarded-Uri")),
				http.StatusFound)
			return
		}
		w.Header().Set("Remote-User", "bob")
	}))
	t.Cleanup(server.Close)
	return server
}

// Devices are known by their tokens, browsers by the sign-in that was there
// before, and nobody by headers that they send.
func browsersAndDevices(t *testing.T) {
	portal := signInOfBrowsers(t)
	e := startExample(t, "browsers-and-devices", "cool-gadget", func(s string) string {
		return strings.Replace(s, "authelia:9091", address(portal), 1)
	})
	token := e.login(url.Values{})
	forged := http.Header{
		"Remote-User": {"root"}, "remote-user": {"root"}, "Remote_User": {"root"}, "Remote-Groups": {"admins"},
		"Remote-Client": {"x"},
		"Connection":    {"Remote-User"},
	}
	for _, test := range []struct {
		name, authorization, cookie string
		status                      int
		seen                        string
	}{
		{"a device", "Bearer " + token, "", 200, "user=alice client=cool-gadget"},
		{"a browser that is signed in", "", "portal=bob", 200, "user=bob client= "},
		{"a device in whose cookies somebody else is signed in", "Bearer " + token, "portal=bob", 200,
			"user=alice client=cool-gadget"},
		{"a browser that is not", "", "", 302, ""},
		{"a bad token beside a good cookie", "Bearer x", "portal=bob", 401, ""},
		{"a password of the application's", "Basic eDp5", "", 302, ""},
	} {
		response, body := dashboard(t, e.url, forged, test.authorization, test.cookie)
		if response.StatusCode != test.status || !strings.Contains(body, test.seen) {
			t.Errorf("%s: %s, want %d and %q in\n%s", test.name, response.Status, test.status, test.seen, body)
		}
		if to := response.Header.Get("Location"); test.status == 302 &&
			to != "https://portal.example.com/?rd=%2Fdashboard" {
			t.Errorf("%s: sent to %q", test.name, to)
		}
	}
}

// dashboard asks for a page of the application, and follows no redirect.
func dashboard(
	t *testing.T, url string, header http.Header, authorization, cookie string,
) (*http.Response, string) {
	t.Helper()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	r, err := http.NewRequest("GET", url+"/dashboard", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = header.Clone()
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	if cookie != "" {
		r.Header.Set("Cookie", cookie)
	}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	body := new(strings.Builder)
	if err := response.Write(body); err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response, body.String()
}
