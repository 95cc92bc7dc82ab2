package response

import "net/http"

// Isolate cuts a page, or a redirect to one, off from the page that opened its
// window. Cross-Origin-Opener-Policy separates pages whose policies differ. Many
// applications send same-origin, too, and one on the issuer's own host would then
// stay connected; the embedder policy makes ours differ from theirs. Unlike
// require-corp, credentialless allows a logo from any site.
func Isolate(h http.Header) {
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Embedder-Policy", "credentialless")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}
