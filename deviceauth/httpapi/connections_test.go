package httpapi_test

import (
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/httpapi"
	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

const namePath = "/device/connections/name"

var (
	headings = regexp.MustCompile(`<h2[^>]*><bdi>(.*?)</bdi>`)
	tails    = regexp.MustCompile(`class="tail">(.*?)<`)
)

// heads are the headings of the devices that a person sees.
func (b *browser) heads() (list []string) {
	b.Helper()
	b.open("/device/connections")
	for _, h := range headings.FindAllStringSubmatch(b.page, -1) {
		list = append(list, h[1])
	}
	return list
}

// names posts the form of one device.
func (b *browser) names(device, name string) {
	b.Helper()
	b.open("/device/connections")
	b.submit(namePath, url.Values{"ticket": {b.ticket()}, "device": {device}, "name": {name}})
}

// protocol 38, 43
func TestPersonNamesTheirDevices(t *testing.T) {
	s := newSite(t)
	s.again(func(c *httpapi.Config) { c.Place = func(*http.Request) string { return "Lis\u202ebon" } })
	b := s.browser()
	b.in()
	var codes []string
	for range 2 {
		user, code := b.ask()
		b.submit("/device/confirm", url.Values{"ticket": {b.ticket()}, "answer": {"allow"}})
		s.poll(code)
		codes = append([]string{user}, codes...) // the newest is shown first
	}
	ids := b.devices()
	b.sees(200, "just now from 192.0.2.7 (Lisbon)")
	for i, tail := range tails.FindAllStringSubmatch(b.page, -1) {
		if want := codes[i][len(codes[i])-4:]; tail[1] != want || strings.Contains(b.page, codes[i]) {
			t.Errorf("of the code %s the page shows %q, want %q", codes[i], tail[1], want)
		}
	}
	b.names(ids[1], " <i>Living</i>\u202e  room ")
	if got := b.heads(); len(got) != 2 || got[0] != "TV &lt;b&gt;" || got[1] != "&lt;i&gt;Living&lt;/i&gt; room" {
		t.Errorf("the devices are called %q", got)
	}
	b.sees(200, `<p class="quiet"><bdi>TV &lt;b&gt;</bdi></p>`) // what it is stays there
	b.sees(200, `value="&lt;i&gt;Living&lt;/i&gt; room" maxlength="60"`)
	b.sees(200, `aria-label="Disconnect &lt;i&gt;Living&lt;/i&gt; room (…`+codes[1][len(codes[1])-4:]+`)"`)
	b.names(ids[1], "")
	if got := b.heads(); got[1] != "TV &lt;b&gt;" {
		t.Errorf("without its name the device is called %q", got[1])
	}
}

// protocol 38, 41
func TestNobodyElseNamesADevice(t *testing.T) {
	s := newSite(t)
	b := s.browser()
	b.in()
	b.connect()
	id := b.devices()[0]
	ticket := b.ticket()
	for fields, status := range map[string]int{
		"device=" + id + "&name=x": 403, "ticket=forged&device=" + id + "&name=x": 403,
		"device=" + id + "&ticket=" + url.QueryEscape(ticket):                             403, // nothing is said of a name
		"device=x&name=x&ticket=" + url.QueryEscape(ticket):                               403,
		"device=" + strings.Repeat("A", 22) + "&name=x&ticket=" + url.QueryEscape(ticket): 404,
	} {
		values, _ := url.ParseQuery(fields)
		if b.submit(namePath, values); b.status != status {
			t.Errorf("%s: %d, want %d", fields, b.status, status)
		}
	}
	values := url.Values{"ticket": {ticket}, "device": {id}, "name": {"x"}}
	for name, value := range map[string]string{
		"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example",
		"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "iframe",
	} {
		r := post(namePath, values)
		r.Header.Set(name, value)
		if b.request(r); b.status != http.StatusForbidden {
			t.Errorf("%s %s: %d", name, value, b.status)
		}
	}
	if b.open(namePath + "?" + values.Encode()); b.status != http.StatusMethodNotAllowed {
		t.Errorf("a GET: %d", b.status)
	}
	home := s.from
	s.from = netip.MustParseAddr("203.0.113.5") // the same cookies, somewhere else
	b.submit(namePath, values)
	b.sees(403, "another network than when you signed in")
	s.from = home
	for _, p := range []deviceauth.Person{{Subject: "work|2", Upstream: "work"}, {Subject: "home|1", Upstream: "home"}} {
		p.User, p.Claims = s.signIn.person.User, s.signIn.person.Claims
		alice := s.signIn.person
		s.signIn.person = &p
		other := s.browser()
		other.in()
		s.signIn.person = alice
		other.names(id, "x")
		other.sees(404, "not among the devices")
	}
	if got := b.heads(); len(got) != 1 || got[0] != "TV &lt;b&gt;" {
		t.Errorf("the device is called %q", got)
	}
}

// What a device calls itself is bounded, plain, and said to be its own word.
func TestDeviceSaysWhatItIsCalled(t *testing.T) {
	s := newSite(t)
	b := s.browser()
	b.in()
	long := strings.Repeat("x", text.MaxName)
	for _, test := range []struct{ sent, shown string }{
		{"alice-laptop", "alice-laptop"},
		{" <b>My\u202e\n\x1b[2J  box ", "&lt;b&gt;My [2J box"},
		{long + "yz", long},
		{"\u200b", ""},
	} {
		v := says(t, s.post("/oauth2/device_authorization", form, url.Values{"client_id": {"tv"}, "device_name": {test.sent}}.Encode()))
		b.submit("/device", url.Values{"user_code": {v["user_code"].(string)}})
		question := `<dt>Calls itself</dt><dd><bdi>` + test.shown + `</bdi> <span class="quiet">This is what the device says. Nobody has checked it.</span>`
		if test.shown == "" {
			if b.sees(200, "TV"); strings.Contains(b.page, "Calls itself") {
				t.Errorf("%q is shown:\n%s", test.sent, b.page)
			}
			continue
		}
		b.sees(200, question)
		b.submit("/device/confirm", url.Values{"ticket": {b.ticket()}, "answer": {"allow"}})
		s.poll(v["device_code"].(string))
		id := b.devices()[0]
		b.sees(200, `<dt>Calls itself</dt><dd><bdi>`+test.shown+`</bdi></dd>`)
		b.names(id, "Mine")
		if b.heads(); strings.Contains(b.page, "<bdi>"+test.shown+"</bdi>") {
			t.Errorf("%q is shown beside the name that its person gave it", test.sent)
		}
		b.submit("/device/connections", url.Values{"ticket": {b.ticket()}, "device": {id}})
	}
}
