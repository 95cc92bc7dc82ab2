package devicecheck

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/net/html"
)

// The browser of a person who has no eyes: it keeps cookies, reads forms and
// links, and follows the redirects of one site.

// maxHops is above what any sign-in page takes.
const maxHops = 8

// open follows redirects as long as they stay on the origin.
func (r *run) open(address string) *answer {
	a := r.send(r.browser, http.MethodGet, address, "", "Sec-Fetch-Site", "none")
	return r.follow(a)
}

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

// A form of a page, with the values it has.
type form struct {
	action *url.URL
	fields url.Values
}

// submit posts a form as the page's own browser does. Our pages have no
// referrer policy that would name an Origin.
func (r *run) submit(f form) *answer {
	return r.follow(r.send(r.browser, http.MethodPost, f.action.String(), f.fields.Encode(),
		"Content-Type", "application/x-www-form-urlencoded", "Origin", "null", "Sec-Fetch-Site", "same-origin"))
}

// formWith finds the form that has a field.
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

// text is what a person reads.
func (a *answer) text() string {
	if said := a.refusal(); said.Error != "" {
		return quote(said.Error + " " + said.Description)
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

// each visits the elements with a name, or all nodes.
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
