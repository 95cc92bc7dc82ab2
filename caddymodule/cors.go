package caddymodule

import (
	"io"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// corsWriter adds CORS headers for the page of a device where the backend,
// which knows nothing of such pages, set none.
type corsWriter struct {
	caddyhttp.ResponseWriterWrapper
	origin string
	wrote  bool
}

func (w *corsWriter) WriteHeader(status int) {
	if !w.wrote && status >= 200 {
		w.wrote = true
		if w.Header().Get("Access-Control-Allow-Origin") == "" {
			allowOrigin(w.Header(), w.origin)
		}
	}
	w.ResponseWriterWrapper.WriteHeader(status)
}

func (w *corsWriter) Write(b []byte) (int, error) {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriterWrapper.Write(b)
}

// ReadFrom has what is copied go by Write's way, and on by the server's own.
func (w *corsWriter) ReadFrom(from io.Reader) (int64, error) {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriterWrapper.ReadFrom(from)
}

func allowOrigin(header http.Header, origin string) {
	header.Set("Access-Control-Allow-Origin", origin)
	header.Set("Access-Control-Expose-Headers", "WWW-Authenticate")
	header.Add("Vary", "Origin")
}
