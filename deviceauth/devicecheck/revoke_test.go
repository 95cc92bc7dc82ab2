package devicecheck

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// A network that fails says nothing about a guard.
func TestSilenceIsNoVerdictOnTheAPI(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		ask  func(*run) finding
		want Status
		not  string
	}{
		"of a missing guard":   {(*run).resourceGuard, Fail, "nothing guards it"},
		"of a deaf revocation": {(*run).untilRefused, Warn, "would go on"},
	} {
		ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			if q.Header.Get("Authorization") != "" {
				panic(http.ErrAbortHandler)
			}
		}))
		r := newRun(t.Context(), Config{})
		r.target, _ = url.Parse(ts.URL)
		if got := test.ask(r); got.status != test.want || strings.Contains(got.detail+got.remedy, test.not) {
			t.Errorf("%s: %+v", name, got)
		}
		r.stop()
		ts.Close()
	}
}
