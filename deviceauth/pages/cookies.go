package pages

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A browser stores at most 4096 bytes for a cookie, including name and attributes,
// and about fifty cookies for a site. Longer values, such as those of a person with
// many groups, are split into pieces.
const (
	pieceSize = 3800
	maxPieces = 10
	pieceMark = "." // between a name and the number of a piece
)

// cookieName returns the name with the prefix that binds a cookie to this host if TLS
// is used (RFC 6265bis §4.1.3.2). A cookie of a sign-in, of which there may be
// several, has the path of the pages, so that other requests do not carry it: then
// only the prefix that requires TLS is possible.
func (h *Handler) cookieName(name string) string {
	switch {
	case !h.secure():
		return name
	case strings.HasPrefix(name, signInCookie):
		return "__Secure-" + name
	}
	return "__Host-" + name
}

// cookiePath returns "/", as the prefix __Host- requires, except for sign-ins.
func (h *Handler) cookiePath(name string) string {
	if strings.HasPrefix(name, signInCookie) {
		return h.cfg.Path
	}
	return "/"
}

// secure reports whether the issuer is served over TLS, which is optional on a
// loopback host.
func (h *Handler) secure() bool { return strings.HasPrefix(h.origin, "https:") }

// cookie returns a cookie that is also sent with navigations from other sites
// (SameSite=Lax), such as the redirect of an upstream. A negative life deletes the
// cookie.
func (h *Handler) cookie(name, value string, life time.Duration) *http.Cookie {
	return &http.Cookie{
		Name: h.cookieName(name), Value: value, Path: h.cookiePath(name), MaxAge: int(life / time.Second),
		HttpOnly: true, Secure: h.secure(), SameSite: http.SameSiteLaxMode,
	}
}

// sealCookie encrypts a value into as many cookies as needed, and deletes further
// pieces of an earlier, longer value.
func (h *Handler) sealCookie(r *http.Request, name string, v any, life time.Duration) ([]*http.Cookie, error) {
	// The name is authenticated, so that the value cannot be used in another cookie.
	text, err := h.seal.seal(name, v)
	if err != nil {
		return nil, err
	}
	var list []*http.Cookie
	for i := 0; i < maxPieces && (text != "" || i == 0); i++ {
		// An empty value has one piece, too: an empty cookie.
		n := min(len(text), pieceSize)
		list = append(list, h.cookie(pieceName(name, i), text[:n], life))
		text = text[n:]
	}
	return append(list, h.dropCookie(r, name, len(list))...), nil
}

// openCookie decrypts a value of sealCookie.
func (h *Handler) openCookie(r *http.Request, name string, v any) bool {
	var text strings.Builder
	for i := range maxPieces {
		// The first missing piece ends the value; an incomplete one cannot be
		// decrypted.
		c, err := r.Cookie(h.cookieName(pieceName(name, i)))
		if err != nil {
			break
		}
		text.WriteString(c.Value)
	}
	return text.Len() > 0 && h.seal.open(name, text.String(), v)
}

// dropCookie deletes the browser's pieces of a cookie, beginning with from.
func (h *Handler) dropCookie(r *http.Request, name string, from int) (list []*http.Cookie) {
	// Pieces have no gaps: after a missing one there are no more.
	for i := from; i < maxPieces; i++ {
		if _, err := r.Cookie(h.cookieName(pieceName(name, i))); err != nil {
			break
		}
		list = append(list, h.cookie(pieceName(name, i), "", -time.Second))
	}
	return list
}

// pieceName returns the name of a piece of a cookie.
func pieceName(name string, i int) string {
	if i == 0 {
		return name
	}
	return name + pieceMark + strconv.Itoa(i)
}
