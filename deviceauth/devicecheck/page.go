package devicecheck

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/net/html"
)

// This file is a browser without a screen: it keeps cookies, reads forms and links,
// and follows the redirects of one site.

// maxHops is more redirects than any sign-in page has. A longer chain is reported as
// a circle.
const maxHops = 8

// open requests a page and follows redirects on the same origin. Sec-Fetch-Site: none
// is what a browser sends for an address that a person typed.
func (r *run) open(address string) *answer {
	a := r.send(r.browser, http.MethodGet, address, "", "Sec-Fetch-Site", "none")
	return r.follow(a)
}

// follow follows redirects, and returns the first answer that redirects to another
// origin: the caller judges that address.
func (r *run) follow(a *answer) *answer {
	for range maxHops {
		to := a.header.Get("Location")
		if !a.redirects() || !sameOrigin(to, a.at) {
			break
		}
		next, _ := a.at.Parse(to) // cannot fail: sameOrigin has parsed it
		a = r.send(r.browser, http.MethodGet, next.String(), "")
	}
	return a
}

// A form is a form of a page with the values in its HTML. These include hidden
// fields, such as the token against forgery.
type form struct {
	action *url.URL
	fields url.Values
}

// submit posts a form as a browser does. It sends "Origin: null", which browsers send
// from a page with the referrer policy no-referrer, as our pages do: a server that
// accepts only its own origin in this header would refuse real browsers, too.
func (r *run) submit(f form) *answer {
	return r.follow(r.send(r.browser, http.MethodPost, f.action.String(), f.fields.Encode(),
		"Content-Type", "application/x-www-form-urlencoded", "Origin", "null", "Sec-Fetch-Site", "same-origin"))
}

// formWith returns the first form with the given field that is sent by POST. The
// action is resolved against the page's address and not checked: the caller has to do
// that before it sends anything.
func (a *answer) formWith(field string) (f form, ok bool) {
	a.each("form", func(n *html.Node) {
		action, err := a.at.Parse(attribute(n, "action"))
		if ok || err != nil || !strings.EqualFold(attribute(n, "method"), "post") {
			return
		}
		fields := url.Values{}
		walk(n, func(n *html.Node) {
			if name := attribute(n, "name"); n.Data == "input" && name != "" {
				fields.Set(name, attribute(n, "value"))
			}
		})
		if fields.Has(field) {
			f, ok = form{action: action, fields: fields}, true
		}
	})
	return f, ok
}

// links returns the addresses of the page's links that have the query parameter, in
// the order of the page and each once. Links to other sites are left out, because
// they are none of the server's choices.
func (a *answer) links(parameter string) (list []string) {
	seen := map[string]bool{}
	a.each("a", func(n *html.Node) {
		u, err := a.at.Parse(attribute(n, "href"))
		if err == nil && sameOrigin(u.String(), a.at) && u.Query().Has(parameter) && !seen[u.String()] {
			seen[u.String()] = true
			list = append(list, u.String())
		}
	})
	return list
}

// text returns the text of a page that a person reads, without scripts, styles and
// title, shortened by quote.
func (a *answer) text() string {
	if oauthError := a.refusal(); oauthError.Error != "" {
		return quote(oauthError.Error + " " + oauthError.Description)
	}
	var all []string
	a.each("", func(n *html.Node) {
		if n.Type == html.TextNode && n.Parent.Data != "script" && n.Parent.Data != "style" &&
			n.Parent.Data != "title" {
			all = append(all, n.Data)
		}
	})
	return quote(strings.Join(all, " "))
}

// each visits the elements with a name, or all nodes if name is empty. html.Parse
// accepts any input, as a browser does; it fails only if reading fails, and then
// there are no nodes.
func (a *answer) each(name string, visit func(*html.Node)) {
	root, err := html.Parse(bytes.NewReader(a.body))
	if err != nil {
		return
	}
	walk(root, func(n *html.Node) {
		if name == "" || n.Type == html.ElementNode && n.Data == name {
			visit(n)
		}
	})
}

func walk(n *html.Node, visit func(*html.Node)) {
	for d := range n.Descendants() {
		visit(d)
	}
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}
