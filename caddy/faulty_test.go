package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/deviceauth/caddy-deviceauth/caddymodule"
	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// asGateway is a variable of the environment that has this test's binary be the
// gateway, with one store more: `store faulty <path>` is a Badger that fails as it
// is told at POST /faults of the admin endpoint.
const asGateway = "DEVICEAUTH_TEST_GATEWAY"

func init() {
	if os.Getenv(asGateway) != "" {
		caddy.RegisterModule(new(faultyStore))
		caddy.RegisterModule(faultsRoute{})
	}
}

// faults are what calls of the store meet with, each with a probability.
type faults struct {
	Errors  float64       `json:"errors"`  // nothing is done
	Unheard float64       `json:"unheard"` // it is done, and nobody hears of it
	Slow    float64       `json:"slow"`    // it takes up to SlowFor longer
	SlowFor time.Duration `json:"slow_for"`
	Stuck   bool          `json:"stuck"` // no call ever returns
	Lose    []string      `json:"lose"`  // documents that are gone now
}

var (
	faultsNow atomic.Pointer[faults]
	faultyDB  atomic.Pointer[faulty] // that was opened last
	stuck     atomic.Int64           // calls that will never return

	errInjected = errors.New("a fault that the test put here")
)

type faultyStore struct {
	caddymodule.BadgerStore
}

func (*faultyStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "device_login.stores.faulty", New: func() caddy.Module { return new(faultyStore) }}
}

// UnmarshalCaddyfile reads `store faulty <path>`.
func (s *faultyStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return s.BadgerStore.UnmarshalCaddyfile(d)
}

func (s *faultyStore) Open(log *slog.Logger) (deviceauth.Storage, error) {
	if now := faultsNow.Load(); now != nil && now.Stuck {
		hang()
	}
	backend, err := s.BadgerStore.Open(log)
	if err != nil {
		return nil, err
	}
	f := &faulty{Storage: backend}
	faultyDB.Store(f)
	return f, nil
}

func hang() {
	stuck.Add(1)
	select {}
}

// A faulty backend does what another one does, or not.
type faulty struct{ deviceauth.Storage }

// call makes a call with the faults of this moment.
func (f *faulty) call(do func() error) error {
	now := faultsNow.Load()
	if now == nil {
		return do()
	}
	if now.Stuck {
		hang()
	}
	if rand.Float64() < now.Slow {
		time.Sleep(rand.N(now.SlowFor + 1))
	}
	if rand.Float64() < now.Errors {
		return errInjected
	}
	err := do()
	if err == nil && rand.Float64() < now.Unheard {
		return errInjected
	}
	return err
}

func (f *faulty) Create(ctx context.Context, g *deviceauth.Grant) error {
	return f.call(func() error { return f.Storage.Create(ctx, g) })
}

func (f *faulty) Get(ctx context.Context, id deviceauth.ID) (g *deviceauth.Grant, err error) {
	err = f.call(func() (err error) { g, err = f.Storage.Get(ctx, id); return err })
	return g, err
}

func (f *faulty) ByUserCode(ctx context.Context, code deviceauth.UserCode) (g *deviceauth.Grant, err error) {
	err = f.call(func() (err error) { g, err = f.Storage.ByUserCode(ctx, code); return err })
	return g, err
}

func (f *faulty) ByOwner(ctx context.Context, owner string) (list []*deviceauth.Grant, err error) {
	err = f.call(func() (err error) { list, err = f.Storage.ByOwner(ctx, owner); return err })
	return list, err
}

func (f *faulty) List(ctx context.Context, after string, limit int) (list []*deviceauth.Grant, next string, err error) {
	err = f.call(func() (err error) { list, next, err = f.Storage.List(ctx, after, limit); return err })
	return list, next, err
}

func (f *faulty) Update(ctx context.Context, id deviceauth.ID, change func(*deviceauth.Grant) error) error {
	return f.call(func() error { return f.Storage.Update(ctx, id, change) })
}

func (f *faulty) LoadDocument(ctx context.Context, name string) (document []byte, err error) {
	err = f.call(func() (err error) { document, err = f.Storage.LoadDocument(ctx, name); return err })
	return document, err
}

func (f *faulty) PutDocument(ctx context.Context, name string, document []byte, until time.Time) error {
	return f.call(func() error { return f.Storage.PutDocument(ctx, name, document, until) })
}

func (f *faulty) UpdateDocument(ctx context.Context, name string, change func([]byte) ([]byte, error)) error {
	return f.call(func() error { return f.Storage.UpdateDocument(ctx, name, change) })
}

func (f *faulty) Close() error { return f.call(f.Storage.Close) }

// faultsRoute is where the faults are told.
type faultsRoute struct{}

func (faultsRoute) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.faults", New: func() caddy.Module { return faultsRoute{} }}
}

func (faultsRoute) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: "/faults", Handler: caddy.AdminHandlerFunc(takeFaults)}}
}

// takeFaults takes the faults of a POST, and tells a GET how many calls are stuck.
func takeFaults(w http.ResponseWriter, r *http.Request) error {
	if r.Method == http.MethodGet {
		fmt.Fprint(w, stuck.Load())
		return nil
	}
	next := new(faults)
	if err := json.NewDecoder(r.Body).Decode(next); err != nil {
		return err
	}
	faultsNow.Store(next)
	for _, name := range next.Lose {
		// A store that is healing from the fault before loses nothing now.
		faultyDB.Load().Storage.PutDocument(r.Context(), name, nil, time.Time{})
	}
	return nil
}

// newFaulty is a gateway with a store that fails as it is told, not started yet.
func newFaulty(t *testing.T, lines string) *gateway {
	t.Helper()
	g := newGateway(t)
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	g.binary, g.env = own, []string{asGateway + "=1"}
	g.withLines("store faulty " + g.storeDir() + "\n\t\t" + lines)
	return g
}

// awaitStuck waits until so many calls of the store are stuck.
func (g *gateway) awaitStuck(n int) {
	g.t.Helper()
	admin := &gateway{t: g.t, url: "http://" + g.admin}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		_, text := admin.request("GET", "/faults", http.Header{})
		count, err := strconv.Atoi(text)
		if err != nil {
			g.t.Fatal(err)
		}
		if count >= n {
			return
		}
		if time.Now().After(end) {
			g.t.Fatalf("%s calls are stuck, want %d", text, n)
		}
	}
}

// meets tells the store what its calls meet with from now on.
func (g *gateway) meets(f faults) {
	g.t.Helper()
	body, err := json.Marshal(f)
	if err != nil {
		g.t.Fatal(err)
	}
	response, err := http.Post("http://"+g.admin+"/faults", "application/json", bytes.NewReader(body))
	if err != nil {
		g.t.Error(err)
		return
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(response.Body)
		g.t.Errorf("the faults are answered %s: %s", response.Status, text)
	}
}
