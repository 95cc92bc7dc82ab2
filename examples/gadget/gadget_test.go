package gadget

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"rsc.io/qr"
)

func get(t *testing.T, target string) (*httptest.ResponseRecorder, error) {
	t.Helper()
	h := &Handler{ClientID: `"><script>`}
	if err := h.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	next := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
		return caddyhttp.Error(http.StatusNotFound, nil)
	})
	return w, h.ServeHTTP(w, httptest.NewRequest("GET", target, nil), next)
}

func TestPageAndItsFilesAreServed(t *testing.T) {
	for target, kind := range map[string]string{"/": "text/html", "/gadget.css": "text/css",
		"/gadget.js": "text/javascript"} {
		w, err := get(t, target)
		if err != nil || w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), kind) ||
			w.Header().Get("ETag") == "" || strings.Contains(policy, "unsafe") ||
			w.Header().Get("Content-Security-Policy") != policy {
			t.Errorf("%s: %d %v, %v", target, w.Code, w.Header(), err)
		}
		if w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s may be taken for something else", target)
		}
		if strings.Contains(w.Body.String(), `"><script>`) {
			t.Errorf("%s: an option is no text", target)
		}
	}
	if _, err := get(t, "/other"); err == nil {
		t.Error("what is not the page's is not passed on")
	}
}

func TestUnchangedFileIsNotSentAgain(t *testing.T) {
	h := new(Handler)
	if err := h.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	first := httptest.NewRecorder()
	if err := h.ServeHTTP(first, httptest.NewRequest("GET", "/gadget.js", nil), nil); err != nil {
		t.Fatal(err)
	}
	for known, status := range map[string]int{first.Header().Get("ETag"): 304,
		`"old", W/` + first.Header().Get("ETag"): 304, `"old"`: 200} {
		r, w := httptest.NewRequest("GET", "/gadget.js", nil), httptest.NewRecorder()
		r.Header.Set("If-None-Match", known)
		if err := h.ServeHTTP(w, r, nil); err != nil || w.Code != status {
			t.Errorf("%s: %d, %v, want %d", known, w.Code, err, status)
		}
	}
}

func TestPageKnowsItsDefaults(t *testing.T) {
	h := new(Handler)
	if err := h.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	if err := h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil), nil); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`data-client-id="cool-gadget"`,
		`data-scope="openid profile email offline_access products:read"`, `data-api="/api/products"`} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %s on the page", want)
		}
	}
}

func TestQRCodeIsTheCode(t *testing.T) {
	const text = "http://localhost:8080/device?user_code=BCDF-GHJK"
	w, err := get(t, "/qr.svg?text="+url.QueryEscape(text))
	if err != nil || w.Header().Get("Content-Type") != "image/svg+xml" {
		t.Fatal(w.Header(), err)
	}
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		t.Fatal(err)
	}
	black := map[[2]int]bool{}
	for _, run := range regexp.MustCompile(`M(\d+) (\d+)h(\d+)`).FindAllStringSubmatch(w.Body.String(), -1) {
		x, _ := strconv.Atoi(run[1])
		y, _ := strconv.Atoi(run[2])
		length, _ := strconv.Atoi(run[3])
		for i := range length {
			black[[2]int{x + i, y}] = true
		}
	}
	for y := range code.Size + 2*quietZone {
		for x := range code.Size + 2*quietZone {
			if black[[2]int{x, y}] != code.Black(x-quietZone, y-quietZone) {
				t.Fatalf("module %d,%d is wrong", x, y)
			}
		}
	}
}

func TestQRCodeOfSomethingElseIsRefused(t *testing.T) {
	for _, text := range []string{"", "javascript:alert(1)", "BCDF-GHJK", "https:", "ftp://example.com",
		"https://" + strings.Repeat("x", maxText-7)} {
		_, err := get(t, "/qr.svg?text="+url.QueryEscape(text))
		if e, ok := err.(caddyhttp.HandlerError); !ok || e.StatusCode != http.StatusBadRequest {
			t.Errorf("%.30q: %v", text, err)
		}
	}
}

func TestLongestQRCodeIsDrawn(t *testing.T) {
	if w, err := get(t, "/qr.svg?text=https://"+strings.Repeat("x", maxText-8)); err != nil || w.Code != 200 ||
		w.Header().Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%d, %v", w.Code, err)
	}
}

func TestCaddyfile(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"nothing", "demo_gadget", ""},
		{"everything", "demo_gadget {\n client_id a\n scope \"b c\"\n api /d\n url http://e\n}", ""},
		{"an argument", "demo_gadget x", "argument"},
		{"an unknown word", "demo_gadget {\n color red\n}", `no subdirective "color"`},
		{"no value", "demo_gadget {\n api\n}", "api: want"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := new(Handler).UnmarshalCaddyfile(caddyfile.NewTestDispenser(test.text))
			if test.want == "" && err != nil ||
				test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v", err)
			}
		})
	}
}
