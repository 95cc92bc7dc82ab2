package gadget

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"rsc.io/qr"
)

const (
	maxText   = 512 // a phone reads no more from a small screen
	quietZone = 4   // modules of white around the code (ISO/IEC 18004)
)

// serveQR draws the address in ?text= as a QR code. The text is limited to web
// addresses, so the endpoint cannot be used to draw anything else. The SVG is
// sandboxed, because it can be opened as a document.
func serveQR(w http.ResponseWriter, r *http.Request) error {
	text := r.URL.Query().Get("text")
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || len(text) > maxText {
		return caddyhttp.Error(http.StatusBadRequest,
			errors.New("text: want an http or https URL of at most 512 bytes"))
	}
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		return caddyhttp.Error(http.StatusBadRequest, err)
	}
	w.Header().Set("Content-Type", "image/svg+xml")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; sandbox")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	_, err = w.Write([]byte(svg(code)))
	return err
}

// svg draws runs of black modules, on white whatever the page's colours are:
// phones read no inverted codes. One path element for all runs keeps the
// picture small.
func svg(code *qr.Code) string {
	var b strings.Builder
	side := code.Size + 2*quietZone
	fmt.Fprintf(&b,
		`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" shape-rendering="crispEdges"><rect width="100%%" `+
			`height="100%%" fill="#fff"/><path d="`, side, side)
	for y := range code.Size {
		for x := 0; x < code.Size; x++ {
			run := 0
			for code.Black(x+run, y) {
				run++
			}
			if run > 0 {
				fmt.Fprintf(&b, "M%d %dh%dv1h-%dz", x+quietZone, y+quietZone, run, run)
				x += run
			}
		}
	}
	b.WriteString(`"/></svg>`)
	return b.String()
}
