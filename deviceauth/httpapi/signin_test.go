package httpapi_test

import (
	"html"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/httpapi"
)

// protocol 39
func TestSignInGoesOnWithWhatItsPageWasAbout(t *testing.T) {
	link := regexp.MustCompile(`href="(/device/sign-in\?[^"]*with=work[^"]*)"`)
	tests := []struct {
		name  string
		fresh bool
		page  func(b *browser) (code string) // brings the page on which the person chooses
	}{
		{"of several upstreams", false, func(b *browser) string {
			delete(b.cookies, "__Host-device_session")
			code, _ := b.ask()
			return code
		}},
		{"anew", true, func(b *browser) string {
			code, _ := b.ask()
			return code
		}},
		{"after a move", false, func(b *browser) string {
			code, _ := b.ask()
			b.site.from = netip.MustParseAddr("203.0.113.5")
			b.answers("answer", "allow")
			return code
		}},
		{"with another account", false, func(b *browser) string {
			code, _ := b.ask()
			ticket := b.ticket()
			b.ask() // another tab, before the button is pressed
			b.submit("/device/sign-out", url.Values{"ticket": {ticket}, "then": {"switch"}})
			return code
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newSite(t, func(c *deviceauth.Config) {
				c.Clients[0].FreshSignIn, c.Allow["home"], c.Network = test.fresh, nil, deviceauth.NetworkOff
			})
			s.again(func(c *httpapi.Config) {
				c.Upstreams = append(c.Upstreams, another{&signIn{person: &deviceauth.Person{}}})
			})
			b := s.browser()
			b.open("/device/sign-in?with=work")
			b.open("/device/callback/work?code=c&state=" + s.signIn.begun.State)
			first := test.page(b)
			chosen := link.FindStringSubmatch(b.page)
			if chosen == nil {
				t.Fatalf("no sign-in is offered on the page:\n%s", b.page)
			}
			second, _ := b.ask() // another tab
			b.open(html.UnescapeString(chosen[1]))
			b.open("/device/callback/work?code=c&state=" + s.signIn.begun.State)
			b.sees(200, first)
			if strings.Contains(b.page, second) {
				t.Error("the page is about the code of another tab")
			}
			// The address is of no use to another browser.
			other := s.browser()
			other.open("/device")
			other.open(html.UnescapeString(chosen[1]))
			if s.signIn.begun.Code != "" {
				t.Errorf("another browser goes on with %s", s.signIn.begun.Code)
			}
		})
	}
}
