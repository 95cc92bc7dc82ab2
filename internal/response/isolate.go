package response

import "net/http"

// Isolate keeps a page, and what leads to one, out of the reach of the page that
// opened it. Cross-Origin-Opener-Policy cuts off openers whose pages have another
// policy. Many applications send same-origin on theirs, and one on the issuer's own
// host could then keep its hold; with an embedder policy beside it ours differs from
// those, too. credentialless, unlike require-corp, lets a logo come from anywhere.
func Isolate(h http.Header) {
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Embedder-Policy", "credentialless")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}
