package pages_test

import (
	"html"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/gateway"
	"github.com/deviceauth/caddy-deviceauth/internal/gatewaytest"
)

// protocol 39
func TestSignInGoesOnWithWhatItsPageWasAbout(t *testing.T) {
	tests := []struct {
		name  string
		fresh bool
		page  func(b *gatewaytest.Browser) (code string) // brings the page on which the person chooses
	}{
		{"of several upstreams", false, func(b *gatewaytest.Browser) string {
			delete(b.Cookies, "__Host-device_session")
			code, _ := b.Ask()
			return code
		}},
		{"anew", true, func(b *gatewaytest.Browser) string {
			code, _ := b.Ask()
			return code
		}},
		{"after a move", false, func(b *gatewaytest.Browser) string {
			code, _ := b.Ask()
			b.Site.From = netip.MustParseAddr("203.0.113.5")
			answers(b, "answer", "allow")
			return code
		}},
		{"with another account", false, func(b *gatewaytest.Browser) string {
			code, _ := b.Ask()
			ticket := b.Ticket()
			b.Ask() // another tab, before the button is pressed
			b.Submit("/device/sign-out", url.Values{"ticket": {ticket}, "then": {"switch"}})
			return code
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { testSignInGoesOn(t, test.fresh, test.page) })
	}
}

// testSignInGoesOn signs in from the page that a function brings, beside another tab
// and from another browser. fresh is whether the device asks for a new sign-in.
func testSignInGoesOn(t *testing.T, fresh bool, page func(b *gatewaytest.Browser) (code string)) {
	link := regexp.MustCompile(`href="(/device/sign-in\?[^"]*with=work[^"]*)"`)
	s := gatewaytest.New(t, func(c *deviceauth.Config) {
		c.Clients[0].FreshSignIn, c.Allow["home"], c.Network = fresh, nil, deviceauth.NetworkOff
	})
	s.Reconfigure(func(c *gateway.HandlerConfig) {
		c.Upstreams = append(c.Upstreams,
			gatewaytest.Home{Upstream: &gatewaytest.Upstream{Person: &deviceauth.Person{}}})
	})
	b := s.Browser()
	b.Open("/device/sign-in?with=work")
	b.Open("/device/callback/work?code=c&state=" + s.Upstream.Begun.State)
	first := page(b)
	chosen := link.FindStringSubmatch(b.Page)
	if chosen == nil {
		t.Fatalf("no sign-in is offered on the page:\n%s", b.Page)
	}
	second, _ := b.Ask() // another tab
	b.Open(html.UnescapeString(chosen[1]))
	b.Open("/device/callback/work?code=c&state=" + s.Upstream.Begun.State)
	b.Sees(200, first)
	if strings.Contains(b.Page, second) {
		t.Error("the page is about the code of another tab")
	}
	// The address is of no use to another browser.
	other := s.Browser()
	other.Open("/device")
	other.Open(html.UnescapeString(chosen[1]))
	if s.Upstream.Begun.Code != "" {
		t.Errorf("another browser goes on with %s", s.Upstream.Begun.Code)
	}
}
