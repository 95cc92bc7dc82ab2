package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/redistest"
)

// A gateway whose Redis takes connections and answers nothing ends in time, whatever
// it has under way: held polls, changes, reads, a look at the keys.
//
// protocol 4
func TestStopEndsInTimeWhereTheStoreHangs(t *testing.T) {
	for _, hung := range []time.Duration{0, 200 * time.Millisecond, time.Second, 2500 * time.Millisecond, 6 * time.Second} {
		t.Run(fmt.Sprint(hung), func(t *testing.T) {
			t.Parallel()
			proxy := redistest.Hanging(t, redistest.Start(t).Addr())
			g := startCluster(t, 1, "store redis "+proxy.URL())[0]
			_, device := connectedAs(t, g, "alice")
			waiting := g.device()
			go waiting.poll()
			g.waitHeld(1)
			proxy.Hang()
			for range 20 { // more than one connection
				go g.tries("POST", "/oauth2/token", "grant_type=refresh_token&client_id=cool-gadget&refresh_token="+device.Refresh)
				go g.tries("POST", "/oauth2/device_authorization", "client_id=cool-gadget")
				go g.tries("GET", "/device/connections", "")
				go g.tries("GET", "/api/products", "")
			}
			go g.run("device-auth", "keys", "rotate", "--address", g.admin)
			time.Sleep(hung)
			g.ends(stopTime)
		})
	}
}

// once has a connection for each request. Those that a client keeps in store, and has
// asked nothing on, are given five seconds by net/http, whatever the gateway does.
var once = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// tries sends a request, whatever becomes of it.
func (g *gateway) tries(method, path, form string) {
	request, err := http.NewRequest(method, g.url+path, strings.NewReader(form))
	if err != nil {
		return
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if response, err := once.Do(request); err == nil {
		response.Body.Close()
	}
}
