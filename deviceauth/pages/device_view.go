package pages

import (
	"net/netip"

	"golang.org/x/text/language"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// deviceView is a device as people see it: on the question, and among theirs.
type deviceView struct {
	Name, Maker, Logo string
	Says              string // what the device calls itself; empty: nothing
	Scopes            []scopeView
	Unchecked         bool   // it introduced itself, and the operator has not vouched for it
	Host              string // where one that introduced itself is from; empty: it named no host
}

// scopeView is what a scope allows: in the operator's words, else by the key
// of ours, else the scope itself.
type scopeView struct {
	Texts      *scopeText // the operator's; nil: none
	Key, Scope string
}

// device is what people are told of a grant's device: what the operator calls it stands
// before what it calls itself.
func (h *Handler) device(g *deviceauth.Grant) deviceView {
	v := deviceView{Name: h.clientName(g.ClientID), Says: g.Label}
	if c, ok := h.cfg.Engine.Client(g.ClientID); ok {
		v.Maker, v.Logo = c.Vendor, c.Logo
		v.Unchecked, v.Host = c.Introduced && !c.Checked, c.Host
	}
	// In the order in which the client asked, or the operator wrote them.
	for _, scope := range g.Scope.List() {
		if scope != deviceauth.ScopeOpenID { // it allows nothing that the connection does not say already
			v.Scopes = append(v.Scopes, h.inWords(scope))
		}
	}
	return v
}

// clientName is what people are told as the name of a client: its id, where it is not
// known any more.
func (h *Handler) clientName(id string) string {
	if c, ok := h.cfg.Engine.Client(id); ok {
		return c.Name
	}
	return id
}

// inWords finds what is said of a scope, in whichever language a page will be.
func (h *Handler) inWords(scope string) scopeView {
	v := scopeView{Texts: h.scopes[scope], Scope: scope}
	if key := "scope." + scope; h.renderer.languages.knows(key) {
		v.Key = key
	}
	return v
}

// Scope says what a scope allows.
func (s *localizer) Scope(v scopeView) string {
	switch {
	case v.Texts != nil:
		found, _ := v.Texts.in(s)
		return text.Plain(found)
	case v.Key != "":
		return s.say(v.Key)
	}
	return text.Plain(v.Scope)
}

// ScopeLang is the language tag of what [localizer.Scope] says, where that is not
// in the page's language: a screen reader has to be told (WCAG 2.2 §3.1.2). It
// is "" in the page's language, and in one that is unknown.
func (s *localizer) ScopeLang(v scopeView) string {
	switch {
	case v.Texts != nil:
		if _, lang := v.Texts.in(s); lang != s.Lang {
			return lang
		}
	case v.Key != "" && s.english[v.Key]:
		return language.English.String()
	}
	return ""
}

// addressText spells an address; one that is not known is "".
func addressText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.Unmap().String()
}
