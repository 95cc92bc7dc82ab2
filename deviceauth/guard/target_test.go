package guard_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
)

// protocol 31
func TestTargetsThatAreNoPathAreRefused(t *testing.T) {
	for _, test := range []struct {
		method, target string
		refused        bool
	}{
		{"GET", "/v2/x", false}, {"GET", "//x/v2", false}, {"OPTIONS", "*", false}, {"CONNECT", "/x", false},
		{"GET", "a:x", true}, {"GET", "a:http://host/v2", true}, {"GET", "http://host/v2", true}, {"GET", "*", true},
	} {
		u, err := url.ParseRequestURI(test.target)
		if err != nil {
			t.Fatal(err)
		}
		r := &http.Request{Method: test.method, RequestURI: test.target, URL: u}
		if got := guard.CheckTarget(r) != nil; got != test.refused {
			t.Errorf("%s %s: refused %v", test.method, test.target, got)
		}
		u.Path, u.RawPath, r.RequestURI = "/rewritten", "", "/rewritten"
		if got := guard.CheckTarget(r) != nil; got != (u.Opaque != "") {
			t.Errorf("%s %s, rewritten: refused %v", test.method, test.target, got)
		}
	}
}

// Every path has few readings, the first is Go's own, none has a dot segment,
// and no reading has a reading that the path itself has not.
func FuzzReadings(f *testing.F) {
	for _, seed := range []string{
		"/v2/secret", "//host/%2e%2e;x/v2", "/a%252f;b\\c/../d", "/index.php/v2%00", "/%25%32%66%25", "/a.b/...",
		"///..;/%5c::$x",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI("/" + target)
		if err != nil || u.Opaque != "" || u.Host != "" {
			return
		}
		all, err := guard.Readings(u)
		if err != nil {
			return
		}
		if all[0] != u.Path || len(all) > 70 {
			t.Fatalf("%q: %d readings, the first is %q", target, len(all), all[0])
		}
		for _, p := range all {
			for s := range strings.SplitSeq(p, "/") {
				if s == "." || s == ".." {
					t.Fatalf("%q has the reading %q", target, p)
				}
			}
			again, err := guard.Readings(&url.URL{Path: p})
			if err != nil {
				t.Fatalf("%q has the reading %q, which is refused", target, p)
			}
			for _, other := range again {
				if !slices.Contains(all, other) {
					t.Fatalf("%q has the reading %q, and that %q", target, p, other)
				}
			}
		}
	})
}

func BenchmarkReadings(b *testing.B) {
	for name, path := range map[string]string{
		"plain": "/v2/products/4711", "usual": "/files/a%2Fb.txt",
		"hostile": "/" + strings.Repeat(`%25252525;\\.php//x/a.%3F`, 160),
		"short":   `/v2%252525;x\\a.php//y./%3F`,
	} {
		u, err := url.ParseRequestURI(path)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				all, _ := guard.Readings(u)
				n = len(all)
			}
			b.ReportMetric(float64(n), "readings")
		})
	}
}

// Each of these is read as /v2/secret, or as below /v2, by some server.
//
// protocol 31
func TestReadingsOfUnusualSpellings(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]string{
		// characters in more bytes than they need, and letters of other encodings
		"/%c0%afv2/secret": "/v2/secret", "/x%c1%9cv2/secret": "/x/v2/secret", "/%e0%81%b62/secret": "/v2/secret",
		"/%f0%80%81%b62/secret": "/v2/secret", "/%f8%80%80%80%afv2/secret": "/v2/secret",
		"/%fc%80%80%80%81%b62/secret": "/v2/secret", "/%c0/v2/secret": "/v2/secret", "/%c0%2fv2/secret": "/v2/secret",
		// file systems of Windows and macOS, and code pages of Windows
		"/v2:$I30:$INDEX_ALLOCATION/secret": "/v2/secret", "/v2/secret::$DATA": "/v2/secret",
		"/v2%3a%24i30%3A%24index_allocation/secret": "/v2/secret", "/v%E2%80%8C2/secret": "/v2/secret",
		"/%E2%88%95v2/secret": "/v2/secret", "/v2%E2%81%84secret": "/v2/secret", "/%E2%88%9A2/secret": "/v2/secret",
		// what follows a script
		"/app.wsgi/v2/secret": "/v2/secret", "/Service.svc/v2/secret": "/v2/secret",
	} {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			t.Fatal(err)
		}
		readings, err := guard.Readings(u)
		if err != nil || !slices.Contains(readings, want) {
			t.Errorf("%s: %q, %v; want %q among them", target, readings, err, want)
		}
		if err := guard.CheckSpelling(u); err == nil {
			t.Errorf("%s is not refused where a guard sees one spelling", target)
		}
	}
}

// Honest paths are served, in UTF-8 and in older encodings; what leads out of them is not.
//
// protocol 31
func TestLettersOfOtherEncodingsAreNoDamage(t *testing.T) {
	t.Parallel()
	for target, refused := range map[string]bool{
		"/caf%c3%a9": false, "/%c3%80": false, "/%e0%a4%85": false, "/%f0%9f%98%80": false,
		"/caf%e9": false, "/%c0": false,
		"/%C0%BA/%C0%BB": false, "/%C0%B4": false, "/%C1%A2": false, // EUC-KR, GBK
		"/%CA%FD%C1%BF.txt": false, "/%C0%40": false,
		"/users/%C0%EE/x": false, "/%C0%EF": false,
		"/open/%C0%AE%C0%AE/x": true, "/%c0%80": true, "/%e0%80%ae%e0%80%ae/x": true,
	} {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := guard.Readings(u); (err != nil) != refused {
			t.Errorf("%s: %v; want it refused: %v", target, err, refused)
		}
	}
}
