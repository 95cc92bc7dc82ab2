package main

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// protocol 38
func TestDeviceIsNamedByItsPersonAndSeenByTheOperator(t *testing.T) {
	t.Parallel()
	g := startWith(t, `place "Room {http.request.uri.query.room}"`)
	d, waiting := g.device(), g.device()
	alice := newPerson(t, "alice")
	alice.allow(d)
	if answer := d.poll(); answer.Status != http.StatusOK {
		t.Fatalf("the device got %+v", answer)
	}
	tail := d.User[len(d.User)-4:]
	alice.open(g.url + "/device/connections")
	alice.submit("/device/connections/name", "name", " Hall\u202e  <way> ")
	alice.sees("Your devices")
	for _, want := range []string{"<bdi>Hall &lt;way&gt;</bdi>", ">" + tail + "<", "127.0.0.1 (Room)"} {
		if !strings.Contains(alice.page, want) {
			t.Errorf("the page does not say %q:\n%s", want, alice.page)
		}
	}
	g.log.wait(t, `"device_renamed"`)
	g.kill()
	g.start()

	list, err := g.auth("grants", "list")
	line := regexp.MustCompile(`(?m)127\.0\.0\.1 \(Room\) +…` + tail + ` .* Hall <way>$`)
	if err != nil || !line.MatchString(list) || strings.Count(list, "…") != 1 {
		t.Errorf("%v\n%s", err, list)
	}
	shown := wantShown(t, g, tail)
	_, every := g.ask("GET", "grants", "")
	for _, code := range []string{d.User, waiting.User} {
		bare := strings.ReplaceAll(code, "-", "")
		if containsAny(list+shown+every+alice.page+g.log.String(), code, bare) ||
			strings.Contains(every, waiting.User[5:]) {
			t.Errorf("the code %s can be read somewhere", code)
		}
	}
	if strings.Contains(g.log.String(), "Hall") {
		t.Error("what a person calls their device is in the log")
	}
}

// wantShown checks what the command shows of the one connected device, and returns it all.
func wantShown(t *testing.T, g *gateway, tail string) string {
	t.Helper()
	id := g.grants("state=connected")[0].ID
	shown, err := g.auth("grants", "show", "--", id)
	for _, want := range []string{`from +127\.0\.0\.1 \(Room\)`, `code ended in +` + tail, `device name +Hall <way>`} {
		if err != nil || !regexp.MustCompile(`(?m)^`+want+`$`).MatchString(shown) {
			t.Errorf("%s is not shown: %v\n%s", want, err, shown)
		}
	}
	raw, err := g.auth("grants", "show", "--json", "--", id)
	var v struct {
		Place string `json:"place"`
		Tail  string `json:"code_tail"`
		Name  string `json:"device_name"`
	}
	if err != nil || json.Unmarshal([]byte(raw), &v) != nil || v.Place != "Room" || v.Tail != tail ||
		v.Name != "Hall <way>" {
		t.Errorf("%v\n%s", err, raw)
	}
	return shown + raw
}
