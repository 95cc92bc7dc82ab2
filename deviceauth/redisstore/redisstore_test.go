package redisstore_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/redisstore"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/storetest"
	"github.com/deviceauth/caddy-deviceauth/internal/needs"
	"github.com/deviceauth/caddy-deviceauth/internal/redistest"
)

func TestMain(m *testing.M) { os.Exit(needs.RunWaiting(m)) }

// opener opens stores that share servers but no keys.
func opener(o redisstore.Options) storetest.Open {
	return func(dir string) (deviceauth.Storage, error) {
		own := o
		own.Prefix = filepath.Base(filepath.Dir(dir)) + filepath.Base(dir) + ":"
		return redisstore.Open(context.Background(), own, nil)
	}
}

func TestStoreConforms(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	storetest.RunOutside(t, opener(redisstore.Options{URLs: []string{server.URL()}}))
}

func TestBugsOnTopAreCaught(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes as long as the suite, once a bug")
	}
	server := redistest.Start(t)
	storetest.RunBugsOutside(t, opener(redisstore.Options{URLs: []string{server.URL()}}))
}

func TestStoreConformsOverACluster(t *testing.T) {
	t.Parallel()
	var urls []string
	for _, server := range redistest.Cluster(t) {
		urls = append(urls, server.URL())
	}
	storetest.RunOutside(t, opener(redisstore.Options{URLs: urls, Cluster: true}))
}

func open(t *testing.T, o redisstore.Options) *redisstore.Store {
	t.Helper()
	s, err := redisstore.Open(t.Context(), o, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func revoke(g *deviceauth.Grant) error { return g.Revoke(time.Now().UTC(), "test") }

// active is a grant that has got as far as one can.
func active() *deviceauth.Grant {
	g := storetest.NewGrant("BCDFGHJK")
	g.State, g.Redeemed = deviceauth.Active, g.Created
	g.Person = &deviceauth.Person{Subject: "work|1", Upstream: "work", User: "alice"}
	return g
}

func TestChangeWaitsForAServerThatRestarts(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := open(t, redisstore.Options{URLs: []string{server.URL()}})
	g := active()
	if err := s.Create(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	done := make(chan error)
	go func() { done <- s.Update(t.Context(), g.ID, revoke) }()
	server.Start()
	if err := <-done; err != nil {
		t.Errorf("the change: %v", err)
	}
	if got, err := s.Get(t.Context(), g.ID); err != nil || got.IsActive() {
		t.Errorf("after the restart: %+v, %v", got, err)
	}
	server.Kill()
	if err := s.Update(t.Context(), g.ID, func(g *deviceauth.Grant) error { g.Revision++; return nil }); err == nil {
		t.Error("a change without a server succeeds")
	}
}

// openerOfTwo opens each store as two gateways do.
func openerOfTwo(o redisstore.Options) storetest.OpenCluster {
	open := opener(o)
	return func(dir string) (a, b deviceauth.Cluster, err error) {
		one, errOne := open(dir)
		other, errOther := open(dir)
		if err := errors.Join(errOne, errOther); err != nil {
			return nil, nil, err
		}
		return one.(*redisstore.Store), other.(*redisstore.Store), nil
	}
}

// protocol 16, 36
func TestGatewaysConform(t *testing.T) {
	t.Parallel()
	storetest.RunClusterOutside(t, openerOfTwo(redisstore.Options{URLs: []string{redistest.Start(t).URL()}}))
}

func TestGatewaysConformOverACluster(t *testing.T) {
	t.Parallel()
	var urls []string
	for _, server := range redistest.Cluster(t) {
		urls = append(urls, server.URL())
	}
	storetest.RunClusterOutside(t, openerOfTwo(redisstore.Options{URLs: urls, Cluster: true}))
}

func TestBugsOfGatewaysAreCaught(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes as long as the checks, once a bug")
	}
	storetest.RunClusterBugsOutside(t, openerOfTwo(redisstore.Options{URLs: []string{redistest.Start(t).URL()}}))
}

// A cursor of SCAN means nothing to another process: its hash is another.
func TestListingIsBegunAnewAfterARestart(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := open(t, redisstore.Options{URLs: []string{server.URL()}, Prefix: `a*[b]?\:`})
	for i := range 50 {
		if err := s.Create(t.Context(), storetest.NewGrant(deviceauth.UserCode("BCDFGH"+strconv.Itoa(i)))); err != nil {
			t.Fatal(err)
		}
	}
	list, next, err := s.List(t.Context(), "", 10)
	if err != nil || len(list) == 0 || next == "" {
		t.Fatalf("%d grants, %q, %v", len(list), next, err)
	}
	if _, _, err := s.List(t.Context(), next, 10); err != nil {
		t.Errorf("the next page: %v", err)
	}
	server.Kill()
	server.Start()
	if _, _, err := s.List(t.Context(), next, 10); !errors.Is(err, deviceauth.ErrCursor) {
		t.Errorf("after a restart: %v, want ErrCursor", err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		o    redisstore.Options
		want string
	}{
		{"nothing", redisstore.Options{}, "want an address"},
		{"no URL", redisstore.Options{URLs: []string{"localhost"}}, "want something like"},
		{"a password in a wrong URL", redisstore.Options{URLs: []string{"http://user:hunter2@host"}},
			"want something like"},
		{"several servers of what", redisstore.Options{URLs: []string{"redis://a", "redis://b"}},
			"want cluster or sentinel"},
		{"both", redisstore.Options{URLs: []string{"redis://a"}, Cluster: true, Sentinel: "m"}, "not both"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if err := test.o.Check(); err == nil || !strings.Contains(err.Error(), test.want) ||
				strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
	if err := (redisstore.Options{URLs: []string{"rediss://user:pass@host:6380/3"}}).Check(); err != nil {
		t.Error(err)
	}
}

func TestServerThatLosesGrantsIsWarnedAbout(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{"allkeys-lru", "volatile-ttl", "allkeys-random"} {
		o := redisstore.Options{URLs: []string{redistest.Start(t, "--maxmemory-policy", policy).URL()}}
		if s, err := redisstore.Open(t.Context(), o, nil); s != nil || err == nil ||
			!strings.Contains(err.Error(), policy) || !strings.Contains(err.Error(), "want noeviction") {
			t.Errorf("%s: %v", policy, err)
		}
	}
	for want, args := range map[string][]string{"appendonly": {"--appendonly", "no"}, "": nil} {
		var log bytes.Buffer
		s, err := redisstore.Open(t.Context(), redisstore.Options{URLs: []string{redistest.Start(t, args...).URL()}},
			slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		if warned := strings.Contains(log.String(), "WARN"); warned != (want != "") ||
			!strings.Contains(log.String(), want) {
			t.Errorf("%q: the log says %q", args, log.String())
		}
	}
}

// A gateway that may not read the eviction policy logs a warning and works.
func TestServerThatTellsNothingIsWarnedAbout(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--user", "gateway", "on", ">hunter3", "~*", "&*", "+@all", "-@dangerous")
	var log bytes.Buffer
	o := redisstore.Options{URLs: []string{server.URL()}, Username: "gateway", Password: "hunter3"}
	s, err := redisstore.Open(t.Context(), o, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Create(t.Context(), active()); err != nil {
		t.Error(err)
	}
	if text := log.String(); !strings.Contains(text, "WARN") || !strings.Contains(text, "maxmemory-policy") {
		t.Errorf("the log says %q", text)
	}
}

func TestSentinelNamesANewMaster(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("Sentinels take their time")
	}
	master, sentinel := redistest.Sentinel(t)
	s := open(t, redisstore.Options{URLs: []string{sentinel.URL()}, Sentinel: "mymaster"})
	g := active()
	if err := s.Create(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	master.Replicated() // what the replica has not is lost, as the documentation says
	master.Kill()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		err := s.Update(t.Context(), g.ID, revoke)
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("it does not heal: %v", err)
		}
	}
	if got, err := s.Get(t.Context(), g.ID); err != nil || got.IsActive() {
		t.Errorf("at the new master: %+v, %v", got, err)
	}
}

func TestUserPasswordAndTLS(t *testing.T) {
	t.Parallel()
	server, secure, dir := redistest.StartTLS(t, "--requirepass", "hunter2", "--user", "gateway", "on", ">hunter3",
		"~login:*", "&login:*", "+@all")
	tests := []struct {
		name string
		o    redisstore.Options
	}{
		{"the password in the address", redisstore.Options{URLs: []string{"redis://:hunter2@" + server.Addr()}}},
		{"the password beside it", redisstore.Options{URLs: []string{server.URL()}, Password: "hunter2"}},
		{"an ACL user, within its prefix",
			redisstore.Options{URLs: []string{server.URL()}, Username: "gateway", Password: "hunter3",
				Prefix: "login:"}},
		{"TLS", redisstore.Options{URLs: []string{secure}, Password: "hunter2", CA: dir + "/cert.pem"}},
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := open(t, test.o)
			g := active()
			g.UserCode += deviceauth.UserCode(strconv.Itoa(i))
			if err := s.Create(t.Context(), g); err != nil {
				t.Fatal(err)
			}
			if err := s.Update(t.Context(), g.ID, revoke); err != nil {
				t.Fatal(err)
			}
			if _, _, err := s.List(t.Context(), "", 10); err != nil {
				t.Fatal(err)
			}
		})
	}
	for name, o := range map[string]redisstore.Options{
		"a CA without TLS":  {URLs: []string{server.URL()}, CA: dir + "/cert.pem"},
		"no such CA":        {URLs: []string{secure}, CA: dir + "/nobody.pem"},
		"a CA that is none": {URLs: []string{secure}, CA: dir + "/key.pem"},
	} {
		if err := o.Check(); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := redisstore.Open(ctx, redisstore.Options{URLs: []string{secure}, Password: "hunter2"},
		nil); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a certificate that nobody trusts: %v", err)
	}
}
