package routes

import (
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"
)

// handler is the handler whose position is looked for.
type handler struct{ caddyhttp.MiddlewareHandler }

// positionOf returns the position of the handler among the routes.
func positionOf(t *testing.T, routes caddyhttp.RouteList) (found Position) {
	t.Helper()
	n := 0
	Walk(routes, func(at Position, h caddyhttp.MiddlewareHandler) {
		if _, ok := h.(handler); ok {
			found = at
			n++
		}
	})
	if n != 1 {
		t.Fatalf("the handler was found %d times", n)
	}
	return found
}

// matching returns the matcher sets of a single matcher.
func matching(m caddyhttp.RequestMatcherWithError) caddyhttp.MatcherSets {
	return caddyhttp.MatcherSets{{m}}
}

func TestHandlerMayHandleWhatItsRoutesAndMatchersLetIn(t *testing.T) {
	t.Parallel()
	alone := caddyhttp.RouteList{{Handlers: []caddyhttp.MiddlewareHandler{handler{}}}}
	// handle_path /api/*
	stripping := caddyhttp.RouteList{{
		MatcherSets: matching(caddyhttp.MatchPath{"/api/*"}),
		Handlers: []caddyhttp.MiddlewareHandler{
			&rewrite.Rewrite{StripPathPrefix: "/api"}, &caddyhttp.Subroute{Routes: alone},
		},
	}}
	below := matching(caddyhttp.MatchPath{"/a/*"})
	except := matching(&caddyhttp.MatchNot{MatcherSets: below})
	for _, c := range []struct {
		routes caddyhttp.RouteList
		own    caddyhttp.MatcherSets
		path   string
		want   bool
	}{
		{routes: alone, path: "/x", want: true},
		{routes: alone, own: below, path: "/a/b", want: true},
		{routes: alone, own: below, path: "", want: true}, // the site, and /a/ is below it
		{routes: alone, own: below, path: "/b"},
		{routes: alone, own: except, path: "/b", want: true},
		{routes: alone, own: except, path: "/a/b"},
		{routes: stripping, path: "/api/x", want: true},
		{routes: stripping, path: "/other"},
		{routes: stripping, own: below, path: "/api/a/b", want: true},
		{routes: stripping, own: below, path: "/api/b"},
		{routes: stripping, own: below, path: "", want: true}, // above the prefix
	} {
		r := httptest.NewRequest("GET", "/", nil)
		caddyhttp.NewTestReplacer(r)
		if got := positionOf(t, c.routes).MayHandle(r, c.path, c.own); got != c.want {
			t.Errorf("%q: got %v", c.path, got)
		}
	}
}

func TestPlaceSaysWhatIsAroundAHandler(t *testing.T) {
	t.Parallel()
	hosts := caddyhttp.MatchHost{"a.example", "b.example"}
	at := positionOf(t, caddyhttp.RouteList{{
		MatcherSets: matching(&hosts),
		Handlers:    []caddyhttp.MiddlewareHandler{handler{}, caddyhttp.StaticResponse{}},
	}})
	if at.Host != "a.example b.example" || at.BehindMatcher || !at.Followed || at.Preceded {
		t.Errorf("%+v", at)
	}
	for host, want := range map[string]bool{"a.example": true, "c.example": false} {
		r := httptest.NewRequest("GET", "http://"+host+"/", nil)
		caddyhttp.NewTestReplacer(r)
		if got := at.IsOnSite(r); got != want {
			t.Errorf("%s: %v", host, got)
		}
	}
	at = positionOf(t, caddyhttp.RouteList{{
		MatcherSets: matching(caddyhttp.MatchPath{"/a/*"}),
		Handlers:    []caddyhttp.MiddlewareHandler{handler{}},
	}})
	if at.Host != "" || !at.BehindMatcher || at.Followed {
		t.Errorf("%+v", at)
	}
}
