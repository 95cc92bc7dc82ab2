package pages

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A browser keeps at most 4096 bytes a cookie, name and attributes included,
// and some fifty cookies a site. What is longer, a person with many groups, is
// cut into pieces.
const (
	pieceSize = 3800
	maxPieces = 10
)

// cookieName has the prefix that ties a cookie to this very host where there
// is TLS (RFC 6265bis §4.1.3.2). That of a sign-in, of which there may be some,
// is for the pages alone, so that no other request carries it: such a one can
// only have the prefix that ties it to TLS.
func (h *Handler) cookieName(name string) string {
	switch {
	case !h.secure():
		return name
	case strings.HasPrefix(name, signInCookie):
		return "__Secure-" + name
	}
	return "__Host-" + name
}

// cookiePath is "/", which the prefix __Host- wants, but for sign-ins.
func (h *Handler) cookiePath(name string) string {
	if strings.HasPrefix(name, signInCookie) {
		return h.cfg.Path
	}
	return "/"
}

// secure reports whether the issuer is served over TLS. On a loopback host it may not be.
func (h *Handler) secure() bool { return strings.HasPrefix(h.origin, "https:") }

// cookie is sent on navigations from other sites (SameSite=Lax), because an upstream
// sends the browser back by one. A life below zero deletes the cookie.
func (h *Handler) cookie(name, value string, life time.Duration) *http.Cookie {
	return &http.Cookie{
		Name: h.cookieName(name), Value: value, Path: h.cookiePath(name), MaxAge: int(life / time.Second),
		HttpOnly: true, Secure: h.secure(), SameSite: http.SameSiteLaxMode,
	}
}

// sealCookie seals a value into as many cookies as it takes, and drops the pieces
// that an earlier, longer value left.
func (h *Handler) sealCookie(r *http.Request, name string, v any, life time.Duration) ([]*http.Cookie, error) {
	// The name is sealed in, so that a cookie under another name does not open.
	text, err := h.seal.seal(name, v)
	if err != nil {
		return nil, err
	}
	var list []*http.Cookie
	for i := 0; i < maxPieces && (text != "" || i == 0); i++ {
		// An empty value has a piece, too: a cookie that is there and says nothing.
		n := min(len(text), pieceSize)
		list = append(list, h.cookie(pieceName(name, i), text[:n], life))
		text = text[n:]
	}
	return append(list, h.dropCookie(r, name, len(list))...), nil
}

// openCookie opens what sealCookie sealed.
func (h *Handler) openCookie(r *http.Request, name string, v any) bool {
	var text strings.Builder
	for i := range maxPieces {
		// The first piece that is missing ends the value; what is left of a longer one does not open.
		c, err := r.Cookie(h.cookieName(pieceName(name, i)))
		if err != nil {
			break
		}
		text.WriteString(c.Value)
	}
	return text.Len() > 0 && h.seal.open(name, text.String(), v)
}

// dropCookie deletes the pieces from the given one on that the browser has.
func (h *Handler) dropCookie(r *http.Request, name string, from int) (list []*http.Cookie) {
	// Pieces have no gaps: where one is missing there are no more.
	for i := from; i < maxPieces; i++ {
		if _, err := r.Cookie(h.cookieName(pieceName(name, i))); err != nil {
			break
		}
		list = append(list, h.cookie(pieceName(name, i), "", -time.Second))
	}
	return list
}

// pieceName names the pieces of a value that is too long for one cookie.
func pieceName(name string, i int) string {
	if i == 0 {
		return name
	}
	return name + "." + strconv.Itoa(i)
}
