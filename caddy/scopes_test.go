package main

import (
	"net/http"
	"strings"
	"testing"
)

// scopeTexts has a scope in two languages that the pages speak, one in one, and
// one in a language that they do not.
const scopeTexts = `scope email {
			en "Write to you"
			de "Ihnen schreiben"
		}
		scope profile {
			de-AT "Ihren Namen wissen"
			nl "Uw naam kennen"
		}`

func TestScopesAreDescribedInThePersonsLanguage(t *testing.T) {
	t.Parallel()
	g := startWith(t, scopeTexts)
	p, d := newPerson(t, "alice"), g.device()
	p.reach(d)
	question := p.at.String()
	p.submit("/device/confirm", "answer", "allow")
	p.sees("is connected")
	if answer := d.poll(); answer.Access == "" {
		t.Fatalf("no token: %+v", answer)
	}
	p.reach(g.device())
	for _, page := range []string{question, g.url + "/device/connections"} {
		for accept, want := range map[string]string{
			"en-US,en;q=0.8": "<li>Write to you</li>",
			"de-AT,de;q=0.8": "<li>Ihnen schreiben</li>",
			"fr":             `<li lang="en" dir="auto">Write to you</li>`,
		} {
			p.header = http.Header{"Accept-Language": {accept}}
			p.open(page)
			always := []string{`<li lang="de-AT" dir="auto">Ihren Namen wissen</li>`,
				"<li>See the products in your store</li>"}
			for _, item := range append(always, want) {
				if !strings.Contains(p.page, item) {
					t.Errorf("%s for %s lacks %s:\n%s", page, accept, item, p.page)
				}
			}
		}
	}
	if !strings.Contains(g.log.String(), "scope profile: the text in nl is never shown") {
		t.Error("a text that nobody will read is not warned about")
	}
}
