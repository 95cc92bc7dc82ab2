package redisstore

import (
	"errors"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// A cursor comes back from outside: whatever it is, it names a server that
// there is, or is refused.
func FuzzCursorIsValidOrRefused(f *testing.F) {
	for _, seed := range []string{"", "w.0.0", "w.2.18446744073709551615", "w.3.0", "v.0.0", "w.-1.0", "w.0.0.0", "w..",
		"w.99999.1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parseCursor(text, "w", 3)
		if err != nil && !errors.Is(err, deviceauth.ErrCursor) || err == nil && (p.server < 0 || p.server > 2) {
			t.Errorf("%q: %+v, %v", text, p, err)
		}
		if again, err2 := parseCursor(p.String(), "w", 3); err == nil && (err2 != nil || again != p) {
			t.Errorf("%q is read as %+v and then as %+v, %v", text, p, again, err2)
		}
	})
}
