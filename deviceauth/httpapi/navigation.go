package httpapi

import "net/http"

// noWorker refuses to be the script of a service worker (Service Workers §2.4):
// one whose script came from our paths could take the pages over.
func noWorker(do does) does {
	return func(r *http.Request) (*answer, error) {
		if r.Header.Get("Service-Worker") != "" {
			return nil, errForeign
		}
		return do(r)
	}
}

// navigations lets a page answer only a person's browser that goes there, where
// the browser says what it does (Fetch Metadata). A script on this host, say in
// a page of an old API, that fetches pages and posts their forms by itself would
// approve devices without a person; so would a frame.
func navigations(do does) does {
	if do == nil {
		return nil
	}
	return noWorker(func(r *http.Request) (*answer, error) {
		mode, destination := r.Header.Get("Sec-Fetch-Mode"), r.Header.Get("Sec-Fetch-Dest")
		if mode != "" && mode != "navigate" || destination != "" && destination != "document" {
			return nil, errForeign
		}
		return do(r)
	})
}
