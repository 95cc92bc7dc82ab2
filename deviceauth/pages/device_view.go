package pages

import (
	"net/netip"

	"golang.org/x/text/language"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// deviceView is a device as people see it, in the question and in their list of
// devices.
type deviceView struct {
	Name, Maker, Logo string
	Says              string // the name that the device gives itself; empty: none
	Scopes            []scopeView
	Unchecked         bool   // it introduced itself, and has not been approved by the operator
	Host              string // of a client that introduced itself; empty: it named no host
}

// scopeView is the explanation of a scope: the operator's, or else ours by its key,
// or else the scope itself.
type scopeView struct {
	Texts      *scopeText // the operator's; nil: none
	Key, Scope string
}

// device returns the view of a grant's device. The operator's name for it precedes
// the one that it gives itself.
func (h *Handler) device(g *deviceauth.Grant) deviceView {
	v := deviceView{Name: h.clientName(g.ClientID), Says: g.Label}
	if c, ok := h.cfg.Engine.Client(g.ClientID); ok {
		v.Maker, v.Logo = c.Vendor, c.Logo
		v.Unchecked, v.Host = c.Introduced && !c.Checked, c.Host
	}
	// In the order in which the client requested them, or the operator wrote them.
	for _, scope := range g.Scope.List() {
		if scope != deviceauth.ScopeOpenID { // it permits nothing beyond the connection itself
			v.Scopes = append(v.Scopes, h.explainScope(scope))
		}
	}
	return v
}

// clientName returns the name of a client, or its id if it is no longer known.
func (h *Handler) clientName(id string) string {
	if c, ok := h.cfg.Engine.Client(id); ok {
		return c.Name
	}
	return id
}

// explainScope returns the explanation of a scope, for pages in any language.
func (h *Handler) explainScope(scope string) scopeView {
	v := scopeView{Texts: h.scopes[scope], Scope: scope}
	if key := "scope." + scope; h.renderer.languages.knows(key) {
		v.Key = key
	}
	return v
}

// Scope returns the explanation of a scope.
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

// ScopeLang returns the language tag of the text of [localizer.Scope] if it is not in
// the page's language, because a screen reader must know it (WCAG 2.2 §3.1.2). It is
// "" for the page's language, and if the language is unknown.
func (s *localizer) ScopeLang(v scopeView) string {
	switch {
	case v.Texts != nil:
		if _, lang := v.Texts.in(s); lang != s.Lang {
			return lang
		}
	case v.Key != "" && s.untranslated[v.Key]:
		return language.English.String()
	}
	return ""
}

// addressText returns an address as text, or "" if it is unknown.
func addressText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.Unmap().String()
}
