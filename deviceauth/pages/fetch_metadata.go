package pages

import (
	"net/http"

	"github.com/deviceauth/caddy-deviceauth/internal/endpoint"
)

// refuseServiceWorker refuses requests for the script of a service worker (Service
// Workers §2.4): one with a script below our paths could take over the pages.
func refuseServiceWorker(do endpoint.Func) endpoint.Func {
	return func(r *http.Request) (*endpoint.Response, error) {
		if r.Header.Get("Service-Worker") != "" {
			return nil, errForeign
		}
		return do(r)
	}
}

// sentByOtherSite reports whether another site, or another host of ours, caused the
// navigation, if the browser tells. Such a navigation starts no sign-in: the upstream
// might answer without asking the person, with an account that is not theirs, and the
// previous session would end. A person who follows a link needs one more click.
func sentByOtherSite(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	return site != "" && site != "same-origin" && site != "none"
}

// navigationOnly restricts a page to navigations, if the browser sends Fetch
// Metadata. A script on this host, for example in a page of an old API, could
// otherwise fetch pages and submit their forms, and so approve devices without a
// person; a frame could, too.
func navigationOnly(do endpoint.Func) endpoint.Func {
	if do == nil {
		return nil
	}
	return refuseServiceWorker(func(r *http.Request) (*endpoint.Response, error) {
		if !isNavigation(r) {
			return nil, errForeign
		}
		return do(r)
	})
}

// isNavigation reports whether a request is a navigation, as far as the browser
// tells.
func isNavigation(r *http.Request) bool {
	mode, destination := r.Header.Get("Sec-Fetch-Mode"), r.Header.Get("Sec-Fetch-Dest")
	goes := (mode == "" || mode == "navigate") && (destination == "" || destination == "document")
	return goes && r.Header.Get("Service-Worker") == ""
}
