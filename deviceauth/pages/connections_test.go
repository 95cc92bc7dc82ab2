package pages_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/gateway"
	"github.com/deviceauth/caddy-deviceauth/internal/gatewaytest"
	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

const namePath = "/device/connections/name"

var (
	headings = regexp.MustCompile(`<h2[^>]*><bdi>(.*?)</bdi>`)
	tails    = regexp.MustCompile(`class="tail">(.*?)<`)
)

// heads are the headings of the devices that a person sees.
func heads(b *gatewaytest.Browser) (list []string) {
	b.Helper()
	b.Open("/device/connections")
	for _, h := range headings.FindAllStringSubmatch(b.Page, -1) {
		list = append(list, h[1])
	}
	return list
}

// names posts the form of one device.
func names(b *gatewaytest.Browser, device, name string) {
	b.Helper()
	b.Open("/device/connections")
	b.Submit(namePath, url.Values{"ticket": {b.Ticket()}, "device": {device}, "name": {name}})
}

// A client whose document is away for a moment hides no device of its person.
//
// protocol 38, 52
func TestDevicesAreListedWhileADocumentIsAway(t *testing.T) {
	const id = "https://client.example.org/client.json"
	synctest.Test(t, func(t *testing.T) {
		var away error
		s := gatewaytest.New(t, func(c *deviceauth.Config) {
			c.Registration = deviceauth.Registration{
				Documents: []string{"*.example.org"}, Scope: "openid read",
				Fetch: func(context.Context, string) ([]byte, error) {
					return fmt.Appendf(nil, `{"client_id":%q,"client_name":"Agent",
						"grant_types":["urn:ietf:params:oauth:grant-type:device_code"]}`, id), away
				},
			}
		})
		b := s.Browser()
		b.SignIn()
		code := gatewaytest.JSON(t, b.Post("/oauth2/device_authorization", gatewaytest.Form,
			"client_id="+url.QueryEscape(id)))["user_code"].(string)
		b.Submit("/device", url.Values{"user_code": {code}})
		b.Submit("/device/confirm", url.Values{"ticket": {b.Ticket()}, "answer": {"allow"}})
		away = errors.New("its server cannot be reached")
		time.Sleep(time.Minute)
		if found := devices(b); b.Status != 200 || len(found) != 1 {
			t.Fatalf("%d, %d devices", b.Status, len(found))
		}
		b.Submit("/device/connections", url.Values{"ticket": {b.Ticket()}, "device": {"all"}})
		b.Sees(200, "No device is connected")
	})
}

// protocol 38, 43
func TestPersonNamesTheirDevices(t *testing.T) {
	s := gatewaytest.New(t)
	s.Reconfigure(func(c *gateway.HandlerConfig) { c.Place = func(*http.Request) string { return "Lis\u202ebon" } })
	b := s.Browser()
	b.SignIn()
	var codes []string
	for range 2 {
		user, code := b.Ask()
		b.Submit("/device/confirm", url.Values{"ticket": {b.Ticket()}, "answer": {"allow"}})
		s.Poll(code)
		codes = append([]string{user}, codes...) // the newest is shown first
	}
	ids := devices(b)
	b.Sees(200, "just now from 192.0.2.7 (Lisbon)")
	for i, tail := range tails.FindAllStringSubmatch(b.Page, -1) {
		if want := codes[i][len(codes[i])-4:]; tail[1] != want || strings.Contains(b.Page, codes[i]) {
			t.Errorf("of the code %s the page shows %q, want %q", codes[i], tail[1], want)
		}
	}
	names(b, ids[1], " <i>Living</i>\u202e  room ")
	if got := heads(b); len(got) != 2 || got[0] != "TV &lt;b&gt;" || got[1] != "&lt;i&gt;Living&lt;/i&gt; room" {
		t.Errorf("the devices are called %q", got)
	}
	b.Sees(200, `<p class="quiet"><bdi>TV &lt;b&gt;</bdi></p>`) // the kind of device stays on the page
	b.Sees(200, `value="&lt;i&gt;Living&lt;/i&gt; room" maxlength="60"`)
	b.Sees(200, `aria-label="Disconnect &lt;i&gt;Living&lt;/i&gt; room (…`+codes[1][len(codes[1])-4:]+`)"`)
	names(b, ids[1], "")
	if got := heads(b); got[1] != "TV &lt;b&gt;" {
		t.Errorf("without its name the device is called %q", got[1])
	}
}

// protocol 38, 41
func TestForeignOrIncompleteRequestsNameNoDevice(t *testing.T) {
	s := gatewaytest.New(t)
	b := s.Browser()
	b.SignIn()
	connect(b)
	id := devices(b)[0]
	ticket := b.Ticket()
	for fields, status := range map[string]int{
		"device=" + id + "&name=x": 403, "ticket=forged&device=" + id + "&name=x": 403,
		// without the field of a name
		"device=" + id + "&ticket=" + url.QueryEscape(ticket):                             403,
		"device=x&name=x&ticket=" + url.QueryEscape(ticket):                               403,
		"device=" + strings.Repeat("A", 22) + "&name=x&ticket=" + url.QueryEscape(ticket): 404,
	} {
		values, _ := url.ParseQuery(fields)
		if b.Submit(namePath, values); b.Status != status {
			t.Errorf("%s: %d, want %d", fields, b.Status, status)
		}
	}
	values := url.Values{"ticket": {ticket}, "device": {id}, "name": {"x"}}
	for name, value := range map[string]string{
		"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example",
		"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "iframe",
	} {
		r := gatewaytest.Post(namePath, values)
		r.Header.Set(name, value)
		if b.Request(r); b.Status != http.StatusForbidden {
			t.Errorf("%s %s: %d", name, value, b.Status)
		}
	}
	if b.Open(namePath + "?" + values.Encode()); b.Status != http.StatusMethodNotAllowed {
		t.Errorf("a GET: %d", b.Status)
	}
	if got := heads(b); len(got) != 1 || got[0] != "TV &lt;b&gt;" {
		t.Errorf("the device is called %q", got)
	}
}

// protocol 38, 41
func TestOtherPersonDoesNotNameADevice(t *testing.T) {
	s := gatewaytest.New(t)
	b := s.Browser()
	b.SignIn()
	connect(b)
	id := devices(b)[0]
	values := url.Values{"ticket": {b.Ticket()}, "device": {id}, "name": {"x"}}
	home := s.From
	s.From = netip.MustParseAddr("203.0.113.5") // the same cookies, somewhere else
	b.Submit(namePath, values)
	b.Sees(403, "another network than when you signed in")
	s.From = home
	for _, p := range []deviceauth.Person{
		{Subject: "work|2", Upstream: "work"}, {Subject: "home|1", Upstream: "home"},
	} {
		p.User, p.Claims = s.Upstream.Person.User, s.Upstream.Person.Claims
		alice := s.Upstream.Person
		s.Upstream.Person = &p
		other := s.Browser()
		other.SignIn()
		s.Upstream.Person = alice
		names(other, id, "x")
		other.Sees(404, "not among the devices")
	}
	if got := heads(b); len(got) != 1 || got[0] != "TV &lt;b&gt;" {
		t.Errorf("the device is called %q", got)
	}
}

// What a device calls itself is bounded, plain, and said to be its own word.
func TestDeviceSaysWhatItIsCalled(t *testing.T) {
	s := gatewaytest.New(t)
	b := s.Browser()
	b.SignIn()
	long := strings.Repeat("x", text.MaxName)
	for _, test := range []struct{ sent, shown string }{
		{"alice-laptop", "alice-laptop"},
		{" <b>My\u202e\n\x1b[2J  box ", "&lt;b&gt;My [2J box"},
		{long + "yz", long},
		{"\u200b", ""},
	} {
		v := gatewaytest.JSON(t, s.Post("/oauth2/device_authorization", gatewaytest.Form,
			url.Values{"client_id": {"tv"}, "device_name": {test.sent}}.Encode()))
		b.Submit("/device", url.Values{"user_code": {v["user_code"].(string)}})
		question := `<dt>Calls itself</dt><dd><bdi>` + test.shown +
			`</bdi> <span class="quiet">This is what the device says. Nobody has checked it.</span>`
		if test.shown == "" {
			if b.Sees(200, "TV"); strings.Contains(b.Page, "Calls itself") {
				t.Errorf("%q is shown:\n%s", test.sent, b.Page)
			}
			continue
		}
		b.Sees(200, question)
		b.Submit("/device/confirm", url.Values{"ticket": {b.Ticket()}, "answer": {"allow"}})
		s.Poll(v["device_code"].(string))
		id := devices(b)[0]
		b.Sees(200, `<dt>Calls itself</dt><dd><bdi>`+test.shown+`</bdi></dd>`)
		names(b, id, "Mine")
		if heads(b); strings.Contains(b.Page, "<bdi>"+test.shown+"</bdi>") {
			t.Errorf("%q is shown beside the name that its person gave it", test.sent)
		}
		b.Submit("/device/connections", url.Values{"ticket": {b.Ticket()}, "device": {id}})
	}
}
