package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/redistest"
)

// grant is a grant as the admin endpoint shows it.
type grant struct {
	ID     string `json:"id"`
	State  string `json:"state"`
	Client string `json:"client"`
	Reason string `json:"reason"`
	From   string `json:"from"`
	Person struct {
		Subject string `json:"subject"`
		User    string `json:"user"`
		Email   string `json:"email"`
	} `json:"person"`
}

// auth runs device-auth beside the server.
func (g *gateway) auth(args ...string) (string, error) {
	return g.run(append([]string{"device-auth", "--address", g.admin}, args...)...)
}

// ask asks the admin endpoint, and returns the status and the body.
func (g *gateway) ask(method, route, body string) (int, string) {
	g.t.Helper()
	r, err := http.NewRequest(method, "http://"+g.admin+"/device_login/"+route, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		g.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// grants lists all grants that a query asks for.
func (g *gateway) grants(query string) (all []grant) {
	g.t.Helper()
	for after := ""; ; {
		var page struct {
			Grants []grant `json:"grants"`
			Next   string  `json:"next"`
		}
		status, text := g.ask("GET", "grants?"+query+"&after="+url.QueryEscape(after), "")
		if err := json.Unmarshal([]byte(text), &page); err != nil || status != http.StatusOK {
			g.t.Fatal(status, text, err)
		}
		all = append(all, page.Grants...)
		if after = page.Next; after == "" {
			return all
		}
	}
}

// connect connects a device for somebody.
func (g *gateway) connect(user string) tokens {
	g.t.Helper()
	d := g.device()
	newPerson(g.t, user).allow(d)
	answer := d.poll()
	if answer.Status != http.StatusOK {
		g.t.Fatalf("the device got %+v", answer)
	}
	return answer
}

func TestGrantsAreListedAndShown(t *testing.T) {
	t.Parallel()
	g := start(t)
	pending, token := g.device(), g.connect("alice")
	for range 3 {
		g.connect("bob")
	}
	if out, err := g.auth("grants"); err != nil || strings.Count(out, "connected") != 4 ||
		strings.Count(out, "pending") != 1 || strings.Count(out, "GRANT") != 1 {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := g.auth("grants", "list", "--person", "alice", "--state", "connected", "--client",
		"cool-gadget"); err != nil || strings.Count(out, "connected") != 1 {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := g.auth("grants", "list", "--limit", "2"); err != nil || strings.Count(out, "cool-gadget") != 2 ||
		!strings.Contains(out, "--all") {
		t.Errorf("%v\n%s", err, out)
	}
	if got := len(g.grants("limit=2")); got != 5 {
		t.Errorf("in pages of two there are %d", got)
	}
	alices := g.grants("state=connected&person=alice")
	if len(alices) != 1 || alices[0].Person.Subject == "" || alices[0].Person.Email != "alice@example.com" {
		t.Fatalf("alice has %+v", alices)
	}
	id := alices[0].ID
	shown, err := g.auth("grants", "show", "--", id)
	if err != nil || !strings.Contains(shown, alices[0].Person.Subject) || !strings.Contains(shown, "last used") {
		t.Errorf("%v\n%s", err, shown)
	}
	raw, err := g.auth("grants", "show", "--json", "--", id)
	if err != nil || !strings.Contains(raw, `"id":"`+id+`"`) {
		t.Errorf("%v\n%s", err, raw)
	}
	if _, list := g.ask("GET", "grants", ""); containsAny(shown+raw+list, token.Access, token.Refresh, pending.Code,
		pending.User, strings.ReplaceAll(pending.User, "-", "")) || strings.Contains(raw, "digest") {
		t.Errorf("a code or a token is shown: %s%s%s", shown, raw, list)
	}
}

// protocol 24
func TestGrantsAreRevokedByTheOperator(t *testing.T) {
	t.Parallel()
	g := start(t)
	pending, token := g.device(), g.connect("alice")
	id := g.grants("state=connected")[0].ID
	if out, err := g.auth("grants", "revoke", "--", id); err != nil || !strings.Contains(out, "revoked") {
		t.Errorf("%v\n%s", err, out)
	}
	if status, _ := g.api(token.Access); status != http.StatusUnauthorized {
		t.Errorf("after its end the API answers %d", status)
	}
	if ended := g.grants("state=ended"); len(ended) != 1 || ended[0].ID != id || ended[0].Reason != "operator" {
		t.Errorf("ended are %+v", ended)
	}
	waiting := g.grants("state=pending")
	if status, text := g.ask("DELETE", "grants/"+waiting[0].ID, ""); status != http.StatusOK ||
		!strings.Contains(text, `"denied"`) {
		t.Errorf("ending one that waits: %d %s", status, text)
	}
	if answer := pending.poll(); answer.Error != "access_denied" {
		t.Errorf("its device hears %+v", answer)
	}
	if !strings.Contains(g.log.String(), "grant_revoked") {
		t.Error("nothing of it is in the audit log")
	}
}

func TestGrantsAreCountedForTheMetrics(t *testing.T) {
	t.Parallel()
	g := start(t)
	g.connect("alice")
	g.device()
	want := map[string]string{"connected": "1", "pending": "1", "denied": "0"}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if g.metric(`caddy_device_login_grants{state="pending"}`) != "" { // counted since it was asked for first
			break
		}
		if time.Now().After(end) {
			t.Fatal("not counted")
		}
	}
	for state, n := range want {
		if got := g.metric(`caddy_device_login_grants{state="` + state + `"}`); got != n {
			t.Errorf("%s: %s, want %s", state, got, n)
		}
	}
}

func containsAny(text string, parts ...string) bool {
	return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(text, part) })
}

func TestGrantsOfAPersonOrAClientEndTogether(t *testing.T) {
	t.Parallel()
	g := start(t)
	alice := g.connect("alice")
	bob := []tokens{g.connect("bob"), g.connect("bob")}
	subject := g.grants("person=bob")[0].Person.Subject
	for _, args := range [][]string{{"revoke"}, {"revoke", "--person", subject, "AAAAAAAAAAAAAAAAAAAAAA"},
		{"revoke", "--state", "live"}} {
		if out, err := g.auth(args...); err == nil || !strings.Contains(out, "want ids of grants") {
			t.Errorf("%q: %v\n%s", args, err, out)
		}
	}
	if out, err := g.auth("revoke", "--person", subject); err == nil ||
		!strings.Contains(out, "End 2 grants, and the person's sessions at the pages?") ||
		!strings.Contains(out, "nothing was ended") {
		t.Errorf("nobody was asked: %v\n%s", err, out)
	}
	piped := g.command("device-auth", "--address", g.admin, "revoke", "--person", subject)
	piped.Stdin = strings.NewReader("y\n")
	if out, err := piped.CombinedOutput(); err == nil || !strings.Contains(string(out), "pass --yes") {
		t.Errorf("a pipe is a terminal: %v\n%s", err, out)
	}
	if status, _ := g.api(bob[0].Access); status != http.StatusOK {
		t.Fatalf("before anybody said yes the API answers %d", status)
	}
	endsNothingIfEmpty(g, bob[0], subject)
	if out, err := g.auth("revoke", "--person", "demo|nobody", "--yes"); err == nil ||
		!strings.Contains(out, "no such grant") {
		t.Errorf("a typing error ends well: %v\n%s", err, out)
	}
	if out, err := g.auth("grants", "revoke", "--person", subject, "--limit", "1", "--yes"); err == nil {
		t.Errorf("a limit is not kept, and not refused either:\n%s", out)
	}
	if out, err := g.auth("grants", "revoke", "--person", subject, "--yes"); err != nil ||
		strings.Count(out, "revoked") != 2 {
		t.Errorf("%v\n%s", err, out)
	}
	for _, token := range bob {
		g.wantStatus(token, http.StatusUnauthorized)
	}
	g.wantStatus(alice, http.StatusOK)
	if out, err := g.auth("revoke", "--client", "cool-gadget", "--yes"); err != nil ||
		strings.Count(out, "revoked") != 1 {
		t.Errorf("%v\n%s", err, out)
	}
	g.wantStatus(alice, http.StatusUnauthorized)
}

// endsNothingIfEmpty revokes what a script means whose variable is not set.
func endsNothingIfEmpty(g *gateway, living tokens, subject string) {
	g.t.Helper()
	for _, empty := range [][]string{{"--person", subject, "--client", ""}, {"--client", ""}, {"--person", ""}, {""}} {
		out, err := g.auth(append([]string{"revoke", "--yes"}, empty...)...)
		status, _ := g.api(living.Access)
		if err == nil || !strings.Contains(out, "is empty") || status != http.StatusOK {
			g.t.Errorf("%q: %v, and then the API answers %d\n%s", empty, err, status, out)
		}
	}
}

// wantStatus checks how the API answers a device.
func (g *gateway) wantStatus(token tokens, want int) {
	g.t.Helper()
	if status, _ := g.api(token.Access); status != want {
		g.t.Errorf("the API answers %d, want %d", status, want)
	}
}

// protocol 41
func TestPersonIsSignedOutByTheOperator(t *testing.T) {
	t.Parallel()
	g := start(t)
	bob, alice := newPerson(t, "bob"), newPerson(t, "alice")
	for _, p := range []*person{bob, alice} {
		p.allow(g.device())
	}
	subject := g.grants("person=bob")[0].Person.Subject
	if out, err := g.auth("revoke", "--person", subject, "--client", "cool-gadget", "--yes"); err != nil ||
		strings.Contains(out, "signed out") || !bob.isSignedIn(g) {
		t.Errorf("the devices of one client: %v\n%s", err, out)
	}
	if out, err := g.auth("revoke", "--person", subject, "--yes"); err != nil ||
		!strings.Contains(out, subject+" signed out") || bob.isSignedIn(g) {
		t.Errorf("the person as a whole: %v\n%s", err, out)
	}
	ended := regexp.MustCompile(`"msg":"sessions_ended"[^\n]*"reason":"operator","by":"[^"]+@[^"]+","subject":"` +
		regexp.QuoteMeta(subject) + `"`)
	if !ended.MatchString(g.log.String()) {
		t.Errorf("the audit log does not say who ended the sessions:\n%s", g.log)
	}
	bob = newPerson(t, "bob")
	bob.allow(g.device())
	if out, err := g.auth("revoke", "--person", "bob", "--yes"); err != nil ||
		!strings.Contains(out, subject+" signed out of the pages") || bob.isSignedIn(g) {
		t.Errorf("by the user's name: %v\n%s", err, out)
	}
	// Whoever has no device any more, and a session.
	bob = newPerson(t, "bob")
	bob.reach(g.device())
	if out, err := g.auth("revoke", "--person", "bob", "--yes"); err != nil ||
		!strings.Contains(out, subject+" signed out of the pages") || bob.isSignedIn(g) {
		t.Errorf("without a device: %v\n%s", err, out)
	}
	if out, err := g.auth("revoke", "--person", "nobody", "--yes"); err == nil ||
		!strings.Contains(out, "no such grant") || strings.Contains(out, "signed out") {
		t.Errorf("somebody that nobody knows: %v\n%s", err, out)
	}
	if status, text := g.ask("DELETE", "sessions?person=bob", ""); status != http.StatusBadRequest ||
		!strings.Contains(text, "want a subject") {
		t.Errorf("a user is no subject: %d %s", status, text)
	}
	if !alice.isSignedIn(g) {
		t.Error("alice is signed out, too")
	}
	if status, text := g.ask("DELETE", "sessions?person="+url.QueryEscape(g.grants("person=alice")[0].Person.Subject),
		""); status != http.StatusOK || !strings.Contains(text, `"ended"`) || alice.isSignedIn(g) {
		t.Errorf("the route: %d %s", status, text)
	}
}

func TestGrantsRoutesSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	g := start(t)
	tests := []struct {
		method, route, body string
		status              int
		want                string
	}{
		{"DELETE", "sessions", "", 400, "want a subject"},
		{"DELETE", "sessions?subject=x", "", 400, "no parameter"},
		{"GET", "grants?limit=0", "", 400, "from 1 to 1000"},
		{"GET", "grants?limit=1001", "", 400, "from 1 to 1000"},
		{"GET", "grants?limit=many", "", 400, "from 1 to 1000"},
		{"GET", "grants?state=gone", "", 400, "want one of: pending"},
		{"GET", "grants?after=nonsense", "", 400, "next of the previous page"},
		{"GET", "grants?persno=alice", "", 400, "want one of: client, person"},
		{"GET", "grants?client=a&client=b", "", 400, "duplicate parameter client"},
		{"GET", "grants?client=", "", 400, "client is empty"},
		{"GET", "grants?person=&limit=5", "", 400, "person is empty"},
		{"DELETE", "clients", "", 400, "want the parameter client"},
		{"DELETE", "clients?client=", "", 400, "client is empty"},
		{"DELETE", "clients?by=x", "", 400, "want the parameter client"},
		{"POST", "clients/approve", "", 400, "want the parameter client"},
		{"DELETE", "sessions?person=", "", 400, "person is empty"},
		{"GET", "grants?%zz", "", 400, "the query"},
		{"GET", "grants/nonsense", "", 400, "22 characters"},
		{"GET", "grants/AAAAAAAAAAAAAAAAAAAAAA", "", 404, "no such grant"},
		{"DELETE", "grants/AAAAAAAAAAAAAAAAAAAAAA", "", 404, "no such grant"},
		{"DELETE", "grants/nonsense", "", 400, "22 characters"},
		{"DELETE", "grants", "", 405, ""},
		{"POST", "pause", "[]", 400, "JSON object"},
		{"POST", "pause", `{"why":"x"}`, 400, "JSON object"},
		{"POST", "pause?why=x", "", 400, "note"},
		{"POST", "pause", `{"note":"` + strings.Repeat("x", 5000) + `"}`, 400, "too large"},
		{"GET", "pause", "", 405, ""},
		{"GET", "keys/rotate", "", 405, ""},
	}
	for _, test := range tests {
		if status, text := g.ask(test.method, test.route, test.body); status != test.status ||
			!strings.Contains(text, test.want) {
			t.Errorf("%s %s: got %d %s, want %d and %q", test.method, test.route, status, text, test.status, test.want)
		}
	}
	if _, text := g.ask("GET", "paused", ""); !strings.Contains(text, `"paused":false`) {
		t.Errorf("a request that was refused paused it: %s", text)
	}
}

func TestClientsAreListedWithoutTheirSecrets(t *testing.T) {
	t.Parallel()
	g := startWith(t, "client meter {\n\t\t\tsecret {env.METER_SECRET}\n\t\t\tscopes offline_access\n"+
		"\t\t\tfrom 10.20.0.0/16\n\t\t}\n\t\tclient plain {\n\t\t\tname \"A plain one\"\n\t\t\tsecret hunter2\n\t\t}",
		"METER_SECRET=meter-secret")
	_, text := g.ask("GET", "clients", "")
	out, err := g.auth("clients", "list")
	if err != nil || strings.Count(out, "confidential") != 2 || !strings.Contains(out, "Cool Gadget") ||
		!strings.Contains(out, "A plain one") {
		t.Errorf("%v\n%s", err, out)
	}
	if both := text + out; containsAny(both, "hunter2", "METER_SECRET", "meter-secret", `"secret"`) {
		t.Errorf("a secret is shown: %s", both)
	}
	var list []struct {
		ID     string   `json:"id"`
		Public bool     `json:"public"`
		From   []string `json:"from"`
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil || len(list) < 3 {
		t.Fatal(text, err)
	}
	for _, c := range list {
		if confidential := c.ID == "meter" || c.ID == "plain"; c.Public == confidential ||
			(c.ID == "meter") != (len(c.From) == 1) {
			t.Errorf("got %+v", c)
		}
	}
}

// askForCode returns what a device is told that asks for a code.
func (g *gateway) askForCode() (*http.Response, string) {
	g.t.Helper()
	response, err := http.PostForm(g.url+"/oauth2/device_authorization", url.Values{"client_id": {"cool-gadget"}})
	if err != nil {
		g.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return response, string(text)
}

// protocol 4
func TestPauseStopsNewDevicesAndSurvivesARestart(t *testing.T) {
	t.Parallel()
	g := start(t)
	pending, token := g.device(), g.connect("alice")
	if out, err := g.auth("pause", "--note", "a flood of requests"); err != nil ||
		!strings.Contains(out, "paused since") || !strings.Contains(out, "a flood of requests") {
		t.Fatalf("%v\n%s", err, out)
	}
	turnedAway := func() {
		t.Helper()
		if response, text := g.askForCode(); response.StatusCode != http.StatusServiceUnavailable ||
			response.Header.Get("Retry-After") == "" || !strings.Contains(text, "temporarily_unavailable") ||
			strings.Contains(text, "flood") {
			t.Errorf("a new device is told %s %s", response.Status, text)
		}
		pending.pending("the pause")
		newPerson(t, "bob").looks(pending.Full, "Connecting devices is paused")
		if status, _ := g.api(token.Access); status != http.StatusOK {
			t.Errorf("one that is connected is answered %d", status)
		}
		if token = g.refresh(token.Refresh); token.Status != http.StatusOK {
			t.Errorf("its refresh is answered %+v", token)
		}
	}
	turnedAway()
	g.kill()
	g.start()
	turnedAway()
	if out, err := g.auth("paused"); err != nil || !strings.Contains(out, "a flood of requests") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := g.auth("resume"); err != nil || !strings.Contains(out, "can be connected") {
		t.Errorf("%v\n%s", err, out)
	}
	newPerson(t, "alice").allow(pending)
	if answer := pending.poll(); answer.Status != http.StatusOK {
		t.Errorf("after the pause: %+v", answer)
	}
	g.log.wait(t, "logins_resumed")
}

// looks opens a page and wants its heading.
func (p *person) looks(address, heading string) {
	p.t.Helper()
	p.open(address)
	p.sees(heading)
}

func TestPauseHoldsForEveryGateway(t *testing.T) {
	t.Parallel()
	g := startCluster(t, 2, "store redis "+redistest.Start(t).URL())
	a, b := g[0], g[1]
	until := func(status int) {
		t.Helper()
		for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
			response, text := b.askForCode()
			if response.StatusCode == status {
				return
			}
			if time.Since(began) > 5*time.Second {
				t.Fatalf("after five seconds the other gateway says %s %s", response.Status, text)
			}
		}
	}
	until(http.StatusOK)
	if status, text := a.ask("POST", "pause", `{"note":"maintenance","by":"root"}`); status != http.StatusOK ||
		!strings.Contains(text, `"by":"root"`) {
		t.Fatal(status, text)
	}
	until(http.StatusServiceUnavailable)
	if _, text := b.ask("GET", "paused", ""); !strings.Contains(text, `"note":"maintenance"`) {
		t.Errorf("the other gateway says %s", text)
	}
	if status, text := b.ask("POST", "resume", ""); status != http.StatusOK {
		t.Fatal(status, text)
	}
	until(http.StatusOK)
}

// protocol 24
func TestGrantsAreSeenAndRevokedAtAnyGateway(t *testing.T) {
	t.Parallel()
	for name, store := range stores(t) {
		t.Run(name, func(t *testing.T) {
			g := startCluster(t, 2, store)
			a, b := g[0], g[1]
			alice := signedIn(t, a)
			d := a.device()
			alice.allowAt(a, d)
			token := d.poll()
			if status, _ := b.api(token.Access); status != http.StatusOK {
				t.Fatalf("before its end: %d", status)
			}
			for range 30 {
				a.device()
			}
			if got := len(b.grants("limit=5")); got < 32 {
				t.Errorf("%d grants are listed, want 32", got)
			}
			list := b.grants("state=connected")
			if len(list) != 1 {
				t.Fatalf("connected are %+v", list)
			}
			if status, text := b.ask("DELETE", "grants/"+list[0].ID, ""); status != http.StatusOK {
				t.Fatal(status, text)
			}
			for ended := time.Now(); ; time.Sleep(10 * time.Millisecond) {
				status, _ := a.api(token.Access)
				if status == http.StatusUnauthorized {
					break
				}
				if time.Since(ended) > time.Second {
					t.Fatalf("a second after its end another gateway answers %d", status)
				}
			}
		})
	}
}

// isSignedIn reports whether a person sees their devices without signing in.
func (p *person) isSignedIn(g *gateway) bool {
	p.open(g.url + "/device/connections")
	return strings.Contains(p.page, "<h1>Your devices</h1>")
}
