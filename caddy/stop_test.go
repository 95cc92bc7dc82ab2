package main

import (
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/redistest"
)

const deviceCodeGrant = "urn:ietf:params:oauth:grant-type:device_code"

// waiting is a request of each kind that waits for the store, each on a connection
// of its own. Nobody hears what becomes of them.
func (g *gateway) waiting(p *person, t tokens, d *device) {
	g.t.Helper()
	form := func(path string, form url.Values) {
		form.Set("client_id", "cool-gadget")
		if response, err := http.PostForm(g.url+path, form); err == nil {
			response.Body.Close()
		}
	}
	go form("/oauth2/device_authorization", url.Values{})
	go form("/oauth2/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {t.Refresh}})
	go form("/oauth2/token", url.Values{"grant_type": {deviceCodeGrant}, "device_code": {d.Code}})
	go form("/oauth2/revoke", url.Values{"token": {t.Refresh}})
	get := func(client *http.Client, address, token string) {
		r, err := http.NewRequest("GET", address, nil)
		if err != nil {
			return
		}
		r.Header.Set("Authorization", "Bearer "+token)
		if response, err := client.Do(r); err == nil {
			response.Body.Close()
		}
	}
	go get(http.DefaultClient, g.url+"/api/products", t.Access)
	go get(p.http, g.url+"/device/connections", "")
	go get(http.DefaultClient, "http://"+g.admin+"/device_login/grants", "")
	go get(http.DefaultClient, "http://"+g.admin+"/device_login/paused", "")
}

// A stop waits for no store, whatever hangs on it: requests of every kind, the
// guard's look at a stream, the census, the close.
func TestStopEndsInTimeWhereTheStoreDoesNotAnswer(t *testing.T) {
	t.Parallel()
	g := newFaulty(t, "")
	g.start()
	alice, token := connectedAs(t, g, "alice")
	pending := g.device()
	g.meets(faults{Stuck: true})
	g.waiting(alice, token, pending)
	g.awaitStuck(8) // one of each kind
	g.ends(stopTime)
}

func TestStopEndsInTimeWhereRedisDoesNotAnswer(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	g := newGateway(t)
	g.withLines("store redis " + server.URL())
	g.start()
	alice, token := connectedAs(t, g, "alice")
	pending := g.device()
	server.Pause()
	defer server.Resume()
	g.waiting(alice, token, pending)
	time.Sleep(500 * time.Millisecond) // a server that is paused cannot tell that they have come
	g.ends(stopTime)
}

// So it is where another store is being opened.
func TestStopEndsInTimeWhereAStoreDoesNotOpen(t *testing.T) {
	t.Parallel()
	g := newFaulty(t, "")
	g.start()
	g.meets(faults{Stuck: true})
	g.withLines("store faulty " + g.storeDir() + "2")
	reloaded := make(chan struct{})
	go func() {
		defer close(reloaded)
		g.reload()
	}()
	g.awaitStuck(1)
	g.ends(stopTime)
	<-reloaded
}

// A configuration whose store is waited for is given up by a stop.
func TestStopEndsInTimeDuringAReload(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "localhost:0") // takes connections, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	g := start(t)
	g.withLines("store redis redis://" + strings.Replace(silent.Addr().String(), "[::1]", "localhost", 1))
	reloaded := make(chan struct{})
	go func() {
		defer close(reloaded)
		g.reload()
	}()
	waits, err := silent.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer waits.Close()
	g.ends(stopTime)
	<-reloaded
}
