package main

import (
	"net/http"
	"strings"
	"testing"
)

// protocol 27
func TestKeysAreRotatedByHand(t *testing.T) {
	t.Parallel()
	g := start(t)
	d := g.device()
	newPerson(t, "alice").allow(d)
	token := d.poll()
	out, err := g.run("device-auth", "keys", "rotate", "--address", g.admin)
	if err != nil || strings.Count(out, "signing") != 1 || strings.Count(out, "next") != 1 {
		t.Fatalf("%v\n%s", err, out)
	}
	if _, set := g.request("GET", "/oauth2/jwks", http.Header{}); strings.Count(set, `"kid"`) != 2 {
		t.Errorf("the new key is not published: %s", set)
	}
	if out, err := g.run("device-auth", "keys", "list", "--json", "--config", g.config); err != nil ||
		strings.Count(out, `"kid"`) != 2 {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := g.reload(); err != nil {
		t.Fatal(err, out)
	}
	g.kill()
	g.start()
	if status, _ := g.api(token.Access); status != http.StatusOK {
		t.Errorf("after rotation, reload and restart the API answers %d", status)
	}
	if out, err := g.run("device-auth", "keys", "list", "--address", g.admin); err != nil ||
		strings.Count(out, "next") != 1 {
		t.Errorf("after a restart: %v\n%s", err, out)
	}
	if out, err := g.run("device-auth", "keys", "list", "--address", "localhost:1"); err == nil {
		t.Errorf("without a server: %s", out)
	}
}
