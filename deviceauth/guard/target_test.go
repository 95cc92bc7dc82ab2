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

// protocol 31
func TestOverlongCharactersAreRefused(t *testing.T) {
	t.Parallel()
	for target, refused := range map[string]bool{
		"/%c0%afv2/x": true, "/open/%C0%AE%C0%AE/x": true, "/%e0%80%afv2": true, "/%f0%80%80%af": true,
		"/%c1%9cv2": true, "/caf%c3%a9": false, "/%c3%80": false, "/%e0%a4%85": false, "/%f0%9f%98%80": false,
		"/caf%e9": false, "/%c0": false,
	} {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := guard.Readings(u); (err != nil) != refused {
			t.Errorf("%s: %v; want it refused: %v", target, err, refused)
		}
		if err := guard.CheckSpelling(u); (err != nil) != refused {
			t.Errorf("%s, where a guard sees one spelling: %v; want it refused: %v", target, err, refused)
		}
	}
}
