package httpapi

import (
	"net/netip"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// deviceView is a device as people see it: on the question, and among theirs.
type deviceView struct {
	Name, Maker, Logo string
	Scopes            []scopeView
}

// scopeView is what a scope allows: in the operator's words, else by the key
// of ours, else the scope itself.
type scopeView struct{ Words, Key string }

func (h *Handler) device(g *deviceauth.Grant) deviceView {
	v := deviceView{Name: g.ClientID}
	if c, ok := h.cfg.Engine.Client(g.ClientID); ok {
		v.Name, v.Maker, v.Logo = c.Name, c.Maker, c.Logo
	}
	for _, scope := range g.Scope.List() {
		if scope != deviceauth.ScopeOpenID { // it allows nothing that the connection does not say already
			v.Scopes = append(v.Scopes, h.inWords(scope))
		}
	}
	return v
}

func (h *Handler) inWords(scope string) scopeView {
	if words := h.cfg.Engine.Words(scope); words != "" {
		return scopeView{Words: words}
	}
	if key := "scope." + scope; h.pages.languages.knows(key) {
		return scopeView{Key: key}
	}
	return scopeView{Words: scope}
}

// Scope says what a scope allows.
func (s *speech) Scope(v scopeView) string {
	if v.Key != "" {
		return s.say(v.Key)
	}
	return deviceauth.Plain(v.Words)
}

// address spells an address; one that is not known is "".
func address(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.Unmap().String()
}
