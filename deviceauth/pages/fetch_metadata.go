package pages

import (
	"net/http"

	"github.com/deviceauth/caddy-deviceauth/internal/endpoint"
)

// refuseServiceWorker refuses to be the script of a service worker (Service Workers §2.4):
// one whose script is from our paths could take the pages over.
func refuseServiceWorker(do endpoint.Func) endpoint.Func {
	return func(r *http.Request) (*endpoint.Response, error) {
		if r.Header.Get("Service-Worker") != "" {
			return nil, errForeign
		}
		return do(r)
	}
}

// sentByOtherSite reports whether another site, or another host of ours, had the
// browser go here, where the browser says so. Such a navigation begins no sign-in:
// the upstream might answer it by itself, with an account that is not the person's,
// and the session before would end. A person who follows a link has one click more.
func sentByOtherSite(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	return site != "" && site != "same-origin" && site != "none"
}

// navigationOnly lets a page answer only a person's browser that goes there, where
// the browser says what it does (Fetch Metadata). A script on this host, say in
// a page of an old API, that fetches pages and posts their forms by itself would
// approve devices without a person; so would a frame.
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

// isNavigation reports whether a request is a person's browser that goes somewhere,
// as far as it says what it is.
func isNavigation(r *http.Request) bool {
	mode, destination := r.Header.Get("Sec-Fetch-Mode"), r.Header.Get("Sec-Fetch-Dest")
	goes := (mode == "" || mode == "navigate") && (destination == "" || destination == "document")
	return goes && r.Header.Get("Service-Worker") == ""
}
