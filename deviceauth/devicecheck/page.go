package devicecheck

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/net/html"
)

// A browser without a screen: it keeps cookies, reads forms and links, and
// follows the redirects of one site.

// maxHops is above what any sign-in page takes. A chain that is longer is
// reported as a circle.
const maxHops = 8

// open follows redirects as long as they stay on the origin.
// Sec-Fetch-Site: none is what a browser sends for an address that a person
// typed.
func (r *run) open(address string) *answer {
	a := r.send(r.browser, http.MethodGet, address, "", "Sec-Fetch-Site", "none")
	return r.follow(a)
}

// follow stops at the first redirect to another origin and returns that answer: the
// caller judges where it leads.
func (r *run) follow(a *answer) *answer {
	for range maxHops {
		to := a.header.Get("Location")
		if !a.redirects() || !sameOrigin(to, a.at) {
			break
		}
		next, _ := a.at.Parse(to) // sameOrigin has
		a = r.send(r.browser, http.MethodGet, next.String(), "")
	}
	return a
}

// A form of a page, with the values it has. The fields are the values that the
// page's HTML has, hidden ones included; without them a form's token against
// forgery would be missing.
type form struct {
	action *url.URL
	fields url.Values
}

// submit posts a form as the page's own browser does. Our pages have no
// referrer policy that would name an Origin. "Origin: null" is what browsers
// send from a page with the referrer policy no-referrer, and a server that
// compares the header with its own origin alone would refuse real people, too.
func (r *run) submit(f form) *answer {
	return r.follow(r.send(r.browser, http.MethodPost, f.action.String(), f.fields.Encode(),
		"Content-Type", "application/x-www-form-urlencoded", "Origin", "null", "Sec-Fetch-Site", "same-origin"))
}

// formWith finds the form that has a field. Only forms that post are
// considered, and the first match counts. The action is resolved against the
// page's address and not checked: the caller does that before anything is
// sent.
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

// links are the addresses of the same site that have a parameter.
// Other sites' addresses are left out, since they are none of the server's
// choices, and repeated ones are listed once. The order is the page's.
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

// text is what a person reads. It leaves out scripts, styles and the title,
// and is shortened by quote.
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

// each visits the elements with a name, or all nodes. html.Parse accepts any
// input as a browser would; an error can only come from reading, and then
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
