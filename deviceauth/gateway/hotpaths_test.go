package gateway_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/badgerstore"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/gateway"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/memstore"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/storetest"
	"github.com/deviceauth/caddy-deviceauth/upstreamidp"
	"github.com/deviceauth/caddy-deviceauth/upstreamidp/idptest"
)

// A hotPath is what a gateway does often. prepare makes what n runs need, so that a run
// is nothing but the path.
type hotPath struct {
	name    string
	prepare func(h *hot, n int) (run func(i int))
}

var hotPaths = []hotPath{
	{name: "authorize", prepare: prepareAuthorize},
	{name: "poll", prepare: preparePoll},
	{name: "redeem", prepare: prepareRedeem},
	{name: "refresh", prepare: prepareRefresh},
	{name: "guard warm", prepare: prepareGuardWarm},
	{name: "guard cold", prepare: prepareGuardCold},
	{name: "page", prepare: preparePage},
	{name: "create badger", prepare: func(h *hot, n int) func(int) { return prepareCreate(h, h.badger(), n) }},
	{name: "get pending badger", prepare: func(h *hot, n int) func(int) { return prepareGet(h, h.badger(), n) }},
	{name: "update badger", prepare: func(h *hot, n int) func(int) { return prepareUpdate(h, h.badger()) }},
	{name: "update memory", prepare: func(h *hot, n int) func(int) { return prepareUpdate(h, memstore.New()) }},
}

const issuer = "http://localhost:8080"

// hot is a gateway in memory.
type hot struct {
	testing.TB
	store    deviceauth.Storage
	pages    http.Handler
	guarded  http.Handler
	response responseWriter
}

func newHot(tb testing.TB) *hot {
	tb.Helper()
	provider := idptest.Start()
	tb.Cleanup(provider.Close)
	h := &hot{TB: tb, store: memstore.New(), response: responseWriter{header: http.Header{}}}
	login, err := gateway.Open(tb.Context(), h.store, gateway.Config{
		Login: deviceauth.Config{
			Issuer: issuer, Wait: -1,
			Pending: deviceauth.PendingLimits{PerAddress: 1 << 30, PerClient: 1 << 30, Total: 1 << 30},
			Clients: []deviceauth.Client{
				{ID: "tv", Name: "Television", Public: true, Scope: "openid offline_access products:read"},
			},
		},
		Upstreams: []upstreamidp.Config{{
			ID: "work", Issuer: provider.URL, ClientID: idptest.ClientID, ClientSecret: idptest.ClientSecret,
		}},
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(login.Close)
	h.pages = login.Handler()
	h.guarded = login.Guard(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), guard.Options{
		Need: deviceauth.Requirement{Scope: "products:read"},
	})
	return h
}

func (h *hot) badger() deviceauth.Storage {
	s, err := badgerstore.Open(badgerstore.Options{Dir: h.TempDir()})
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() { s.Close() })
	return s
}

// responseWriter keeps the last response.
type responseWriter struct {
	header http.Header
	status int
	body   []byte
}

func (w *responseWriter) Header() http.Header    { return w.header }
func (w *responseWriter) WriteHeader(status int) { w.status = status }
func (w *responseWriter) Write(p []byte) (int, error) {
	w.body = append(w.body, p...)
	return len(p), nil
}

var alice = &deviceauth.Person{Subject: "work|1", Upstream: "work", User: "alice", AuthTime: time.Now()}

func approve(g *deviceauth.Grant) error { return g.Approve(time.Now(), alice) }

func (h *hot) request(method, path string, form url.Values) *http.Request {
	r, err := http.NewRequestWithContext(h.Context(), method, issuer+path, strings.NewReader(form.Encode()))
	if err != nil {
		h.Fatal(err)
	}
	r.RemoteAddr = "192.0.2.1:1234"
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return r
}

func (h *hot) serve(handler http.Handler, r *http.Request, want int) {
	clear(h.response.header)
	h.response.status, h.response.body = http.StatusOK, h.response.body[:0]
	handler.ServeHTTP(&h.response, r)
	if h.response.status != want {
		h.Fatalf("%s: %d %s, want %d", r.URL.Path, h.response.status, h.response.body, want)
	}
}

// served is run for requests made ahead.
func (h *hot) served(handler http.Handler, want int, list []*http.Request) func(int) {
	return func(i int) { h.serve(handler, list[i], want) }
}

func (h *hot) times(n int, request func() *http.Request) (list []*http.Request) {
	for range n {
		list = append(list, request())
	}
	return list
}

func (h *hot) authorization() *http.Request {
	return h.request("POST", "/oauth2/device_authorization", url.Values{
		"client_id": {"tv"}, "scope": {"openid offline_access products:read"},
	})
}

func (h *hot) member(name string) string {
	var members map[string]any
	if err := json.Unmarshal(h.response.body, &members); err != nil {
		h.Fatal(err)
	}
	text, _ := members[name].(string)
	return text
}

// poll returns a poll of a new code, which is approved or pending.
func (h *hot) poll(approved bool) *http.Request {
	h.serve(h.pages, h.authorization(), http.StatusOK)
	if code, ok := deviceauth.ParseUserCode(h.member("user_code")); approved && ok {
		g, err := h.store.ByUserCode(h.Context(), code)
		if err != nil {
			h.Fatal(err)
		}
		if err := h.store.Update(h.Context(), g.ID, approve); err != nil {
			h.Fatal(err)
		}
	}
	return h.request("POST", "/oauth2/token", url.Values{
		"client_id": {"tv"}, "grant_type": {"urn:ietf:params:oauth:grant-type:device_code"},
		"device_code": {h.member("device_code")},
	})
}

func prepareAuthorize(h *hot, n int) func(int) {
	return h.served(h.pages, http.StatusOK, h.times(n, h.authorization))
}

func preparePoll(h *hot, n int) func(int) {
	return h.served(h.pages, http.StatusBadRequest, h.times(n, func() *http.Request { return h.poll(false) }))
}

func prepareRedeem(h *hot, n int) func(int) {
	return h.served(h.pages, http.StatusOK, h.times(n, func() *http.Request { return h.poll(true) }))
}

func prepareRefresh(h *hot, n int) func(int) {
	return h.served(h.pages, http.StatusOK, h.times(n, func() *http.Request {
		h.serve(h.pages, h.poll(true), http.StatusOK)
		return h.request("POST", "/oauth2/token", url.Values{
			"client_id": {"tv"}, "grant_type": {"refresh_token"}, "refresh_token": {h.member("refresh_token")},
		})
	}))
}

// call is a request of the guarded API, with a new token.
func (h *hot) call() *http.Request {
	h.serve(h.pages, h.poll(true), http.StatusOK)
	r := h.request("GET", "/api/products", nil)
	r.Header.Set("Authorization", "Bearer "+h.member("access_token"))
	return r
}

func prepareGuardCold(h *hot, n int) func(int) {
	return h.served(h.guarded, http.StatusOK, h.times(n, h.call))
}

func prepareGuardWarm(h *hot, _ int) func(int) {
	r := h.call()
	h.serve(h.guarded, r, http.StatusOK)
	return func(int) { h.serve(h.guarded, r, http.StatusOK) }
}

func preparePage(h *hot, n int) func(int) {
	get := func() *http.Request { return h.request("GET", "/device", nil) }
	return h.served(h.pages, http.StatusOK, h.times(n, get))
}

func prepareCreate(h *hot, s deviceauth.Storage, n int) func(int) {
	list := make([]*deviceauth.Grant, n)
	for i := range list {
		list[i] = storetest.NewGrant("")
		list[i].UserCode = deviceauth.UserCode(list[i].ID.String())
	}
	return func(i int) {
		if err := s.Create(h.Context(), list[i]); err != nil {
			h.Fatal(err)
		}
	}
}

func prepareGet(h *hot, s deviceauth.Storage, _ int) func(int) {
	g := storetest.NewGrant("BCDFGHJK")
	if err := s.Create(h.Context(), g); err != nil {
		h.Fatal(err)
	}
	return func(int) {
		if _, err := s.Get(h.Context(), g.ID); err != nil {
			h.Fatal(err)
		}
	}
}

func prepareUpdate(h *hot, s deviceauth.Storage) func(int) {
	g := storetest.NewGrant("BCDFGHJK")
	if err := errors.Join(s.Create(h.Context(), g), s.Update(h.Context(), g.ID, approve)); err != nil {
		h.Fatal(err)
	}
	return func(int) {
		if err := s.Update(h.Context(), g.ID, func(*deviceauth.Grant) error { return nil }); err != nil {
			h.Fatal(err)
		}
	}
}
