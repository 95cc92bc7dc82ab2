package main

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/redistest"
)

// registration is a block that lets clients register.
const registration = "registration {\n\t\t\topen\n\t\t\tscopes openid profile offline_access products:read\n\t\t}"

// register registers a client at a gateway.
func (g *gateway) register(metadata string) (client struct {
	ID    string `json:"client_id"`
	Token string `json:"registration_access_token"`
}) {
	g.t.Helper()
	response, err := http.Post(g.url+"/oauth2/register", "application/json", strings.NewReader(metadata))
	if err != nil {
		g.t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&client); err != nil || response.StatusCode != 201 {
		g.t.Fatalf("%d, %v", response.StatusCode, err)
	}
	return client
}

const kiosk = `{"client_name":"Kiosk","token_endpoint_auth_method":"none",
	"grant_types":["urn:ietf:params:oauth:grant-type:device_code","refresh_token"]}`

// asksAs asks for a code as a client.
func (g *gateway) asksAs(client string) *device {
	g.t.Helper()
	d := &device{t: g.t, g: g, client: client}
	g.post("/oauth2/device_authorization", url.Values{"client_id": {client}}, d)
	if d.User == "" {
		g.t.Fatal("no code was given")
	}
	return d
}

// protocol 53, 55
func TestOperatorLooksAfterClientsThatIntroducedThemselves(t *testing.T) {
	t.Parallel()
	g := startWith(t, registration)
	client := g.register(kiosk)
	d := g.asksAs(client.ID)
	alice := newPerson(t, "alice")
	alice.reachKiosk(d)
	if !strings.Contains(alice.page, "Not checked by Example Store") {
		t.Errorf("nothing says that nobody has checked it:\n%s", alice.page)
	}
	alice.submit("/device/confirm", "answer", "allow")
	tokens := d.poll()
	if status, _ := g.api(tokens.Access); status != 200 {
		t.Fatalf("the API answers %d", status)
	}
	out, err := g.run("device-auth", "clients", "list")
	if err != nil || !strings.Contains(out, client.ID) || !strings.Contains(out, "public, not checked") {
		t.Errorf("list: %v\n%s", err, out)
	}
	if out, err := g.run("device-auth", "clients", "approve", client.ID); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	alice.reachKiosk(g.asksAs(client.ID))
	if strings.Contains(alice.page, "Not checked by") {
		t.Error("people are warned of an approved client")
	}
	if out, err := g.run("device-auth", "clients", "remove", client.ID); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	g.wantStatus(tokens, 401)
	if again := g.refreshAs(client.ID, tokens.Refresh); again.Error != "invalid_client" {
		t.Errorf("refresh: %+v", again)
	}
	for _, wrong := range []string{client.ID, "cool-gadget", "https://client.example/x"} {
		out, err := g.run("device-auth", "clients", "remove", wrong)
		if err == nil || !strings.Contains(out, "no client") {
			t.Errorf("remove %s: %v\n%s", wrong, err, out)
		}
	}
	for _, event := range []string{"client_registered", "client_approved", "client_removed"} {
		if g.audited(event)["client_id"] != client.ID {
			t.Errorf("%s: %v", event, g.audited(event))
		}
	}
}

// A person who was talked into handing over the address with the code is in the network of
// their browser, and so is a page of the attacker's there: the page of a client that
// anybody may register exchanges no code of another client, and spends none.
//
// protocol 46, 50, 53
func TestPageOfAnAttackersClientExchangesNoCode(t *testing.T) {
	t.Parallel()
	g := startWith(t, registration+"\n\t\t"+desktop)
	g.register(`{"redirect_uris":["https://page.example/cb"],"token_endpoint_auth_method":"none"}`)
	l := newCodeLogin(t, g, "desktop")
	l.allow(stockKeeper)
	r, err := http.NewRequest(http.MethodPost, g.url+"/oauth2/token", strings.NewReader(l.form().Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", "https://page.example")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != 403 || strings.Contains(string(body), "access_token") {
		t.Errorf("the page is answered %d %s, %v", response.StatusCode, body, err)
	}
	if tokens := l.exchange(); tokens.Access == "" {
		t.Errorf("the program is answered %+v", tokens)
	}
}

// refreshAs refreshes as a client.
func (g *gateway) refreshAs(client, token string) (answer tokens) {
	g.t.Helper()
	answer.Status = g.post("/oauth2/token", url.Values{
		"client_id": {client}, "refresh_token": {token}, "grant_type": {"refresh_token"},
	}, &answer)
	return answer
}

// protocol 53
func TestRegisteredClientSurvivesARestart(t *testing.T) {
	t.Parallel()
	g := startWith(t, registration)
	client := g.register(kiosk)
	g.kill()
	g.start()
	g.asksAs(client.ID)
}

// trustDocument serves a client metadata document on this machine, and has the gateway
// trust the server's certificate. The document has %q for its client_id.
func (g *gateway) trustDocument(document string) {
	g.t.Helper()
	site, trust := publish(g.t, document)
	g.site, g.document = site, site.URL+"/client.json"
	g.env = append(g.env, trust)
}

// publish serves the metadata document of a client, in which %q is its own URL. It
// returns the site, and the variable by which a gateway trusts its certificate.
func publish(t *testing.T, document string) (site *httptest.Server, trust string) {
	t.Helper()
	site = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, document, "https://"+r.Host+r.URL.Path)
	}))
	t.Cleanup(site.Close)
	trusted := filepath.Join(t.TempDir(), "roots.pem")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: site.Certificate().Raw})
	if err := os.WriteFile(trusted, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	return site, "SSL_CERT_FILE=" + trusted
}

// A metadata document of a client on this machine, which a gateway on a loopback host may
// fetch, and what a browser sees where it cannot be used.
//
// protocol 52
func TestClientIsKnownByItsDocument(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	g.trustDocument(`{"client_id":%q,"client_name":"Agent","redirect_uris":["http://127.0.0.1/callback"]}`)
	g.withLines("registration {\n\t\t\tdocuments 127.0.0.1:*\n\t\t\tscopes openid products:read\n\t\t}")
	g.start()
	l := newCodeLogin(t, g, g.document)
	l.allow("Connect Agent?")
	tokens := l.exchange()
	if status, body := g.api(tokens.Access); status != 200 || !strings.Contains(body, g.document) {
		t.Errorf("the API answers %d %s", status, body)
	}
	// The document is known over a reload, though its site is away.
	g.site.Close()
	g.reloadWith("scopes openid products:read\n", "scopes openid products:read products:write\n")
	newCodeLogin(t, g, g.document).allow("Connect Agent?")
	stranger := newPerson(t, "alice")
	stranger.open(newCodeLogin(t, g, "https://localhost:1/client.json").address())
	stranger.sees("This program is not known here")
	stranger.open(newCodeLogin(t, g, "https://127.0.0.1:1/client.json").address())
	stranger.sees("The program's description cannot be used")
	if !strings.Contains(stranger.page, "cannot be reached") {
		t.Errorf("the page does not say why:\n%s", stranger.page)
	}
}

// protocol 49, 51, 53, 55
func TestGatewaysShareClientsAndCodes(t *testing.T) {
	t.Parallel()
	store := "store redis " + redistest.Start(t).URL() + "\n\t\t" + registration + "\n\t\t" + desktop
	g := startCluster(t, 2, store)
	a, b := g[0], g[1]
	client := a.register(kiosk)
	b.asksAs(client.ID) // at once, without a look before
	alice := newPerson(t, "alice")
	d := b.asksAs(client.ID)
	alice.open(d.Full)
	alice.submit("/device", "user_code", d.User)
	alice.submit("/login", "user", "alice")
	alice.sees("Connect Kiosk?")
	alice.submit("/device/confirm", "answer", "allow")
	tokens := d.on(b).poll()
	if tokens.Access == "" {
		t.Fatalf("%+v", tokens)
	}
	if out, err := b.run("device-auth", "clients", "remove", client.ID); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for end := time.Now().Add(time.Second); ; time.Sleep(10 * time.Millisecond) {
		if status, _ := a.api(tokens.Access); status == http.StatusUnauthorized {
			break
		}
		if time.Now().After(end) {
			t.Fatal("a second later the other gateway lets the token in")
		}
	}
	// A code is good once at all of them.
	l := newCodeLogin(t, a, "desktop")
	l.allow(stockKeeper)
	var given atomic.Int32
	var all sync.WaitGroup
	for i := range 32 {
		all.Go(func() {
			at := *l
			at.g = g[i%2]
			if at.exchange().Status == http.StatusOK {
				given.Add(1)
			}
		})
	}
	all.Wait()
	if given.Load() != 1 {
		t.Errorf("%d of 32 exchanges at two gateways were given tokens", given.Load())
	}
}

// reachKiosk has a person sign in, if need be, and see the question of the client Kiosk.
func (p *person) reachKiosk(d *device) {
	p.t.Helper()
	p.open(d.Full)
	p.submit("/device", "user_code", d.User)
	if strings.Contains(p.page, "Who are you?") {
		p.submit("/login", "user", "alice")
	}
	p.sees("Connect Kiosk?")
}
