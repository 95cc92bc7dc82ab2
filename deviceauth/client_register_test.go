package deviceauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/memstore"
)

// withRegistration lets clients introduce themselves; documents are what Fetch finds.
func withRegistration(documents map[string]string) func(*deviceauth.Config) {
	return func(c *deviceauth.Config) {
		c.Registration = deviceauth.Registration{
			Open: true, Scope: "openid offline_access read", Documents: []string{"*.example.org"}, Limit: 3,
			Fetch: func(_ context.Context, url string) ([]byte, error) {
				if d, ok := documents[url]; ok {
					return []byte(d), nil
				}
				return nil, errors.New("its server cannot be reached")
			},
		}
	}
}

// register has a device register.
func (w *world) register(from string) *deviceauth.Registered {
	w.Helper()
	r, err := w.Register(w.Context(), registerRequest(from))
	if err != nil {
		w.Fatal(err)
	}
	return r
}

func registerRequest(from string) deviceauth.RegisterRequest {
	m, err := deviceauth.ParseClientMetadata([]byte(`{"client_name":"Kiosk","token_endpoint_auth_method":"none",
		"grant_types":["urn:ietf:params:oauth:grant-type:device_code","refresh_token"]}`))
	if err != nil {
		panic(err)
	}
	return deviceauth.RegisterRequest{Metadata: m, From: netip.MustParseAddr(from)}
}

// asksAs asks for a code as a client.
func (w *world) asksAs(id string) (*deviceauth.Authorization, error) {
	return w.Authorize(w.Context(), deviceauth.AuthorizeRequest{
		Client: deviceauth.Credentials{ClientID: id}, From: here,
	})
}

// allowsAs logs a client's device in.
func (w *world) allowsAs(id string) *deviceauth.Tokens {
	w.Helper()
	a, err := w.asksAs(id)
	if err != nil {
		w.Fatal(err)
	}
	w.answer(a, true)
	tokens, err := w.Redeem(w.Context(), deviceauth.RedeemRequest{
		Client: deviceauth.Credentials{ClientID: id}, DeviceCode: a.DeviceCode.Reveal(),
	})
	if err != nil {
		w.Fatal(err)
	}
	return tokens
}

// protocol 53
func TestClientThatIsNotAllowedInADayIsForgotten(t *testing.T) {
	in(t, func(w *world) {
		used, unused := w.register("192.0.2.1"), w.register("192.0.2.2")
		tokens := w.allowsAs(used.ID)
		time.Sleep(25 * time.Hour)
		if _, err := w.asksAs(used.ID); err != nil {
			t.Error(err)
		}
		_, err := w.asksAs(unused.ID)
		w.wants("invalid_client", err)
		_, err = w.ReadRegistration(w.Context(), unused.ID, unused.Token)
		w.wants("invalid_token", err)
		list, err := w.IntroducedClients(w.Context())
		if err != nil || len(list) != 1 || list[0].ID != used.ID || !list[0].Used {
			t.Errorf("listed: %v, %v", list, err)
		}
		client := deviceauth.Credentials{ClientID: used.ID}
		if _, err := w.Refresh(w.Context(), deviceauth.RefreshRequest{
			Client: client, RefreshToken: tokens.RefreshToken.Reveal(),
		}); err != nil {
			t.Error(err)
		}
	}, withRegistration(nil))
}

// protocol 53
func TestManyAtOnceRegisterNoMoreThanOneAfterAnother(t *testing.T) {
	in(t, func(w *world) {
		var all sync.WaitGroup
		var registered atomic.Int32
		for range 200 {
			all.Go(func() {
				switch _, err := w.Register(w.Context(), registerRequest("192.0.2.1")); {
				case err == nil:
					registered.Add(1)
				case deviceauth.AsError(err) == nil:
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := registered.Load(); n != 10 {
			t.Errorf("%d registered at once from one address, want 10", n)
		}
	}, withRegistration(nil), func(c *deviceauth.Config) { c.Registration.Limit = 1000 })
}

// protocol 53
func TestOldestUnusedClientGivesWay(t *testing.T) {
	in(t, func(w *world) {
		used := w.register("192.0.2.1")
		w.allowsAs(used.ID)
		first := w.register("192.0.2.2")
		time.Sleep(time.Minute)
		w.register("192.0.2.3")
		_, err := w.Register(w.Context(), registerRequest("192.0.2.4"))
		w.wants("temporarily_unavailable", err) // all are young
		time.Sleep(10 * time.Minute)
		w.register("192.0.2.5")
		_, err = w.asksAs(first.ID)
		w.wants("invalid_client", err)
		if _, err := w.asksAs(used.ID); err != nil {
			t.Error(err)
		}
	}, withRegistration(nil))
}

// protocol 53, 55
func TestGatewaysKnowOneAnothersClients(t *testing.T) {
	in(t, func(w *world) {
		other, err := deviceauth.New(w.config)
		if err != nil {
			t.Fatal(err)
		}
		r := w.register("192.0.2.1")
		ask := deviceauth.AuthorizeRequest{Client: deviceauth.Credentials{ClientID: r.ID}, From: here}
		if _, err := other.Authorize(w.Context(), ask); err != nil {
			t.Errorf("at once at another gateway: %v", err)
		}
		tokens := w.allowsAs(r.ID)
		if err := other.RemoveClient(w.Context(), r.ID, "operator"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if err := w.admit(tokens.AccessToken); err == nil {
			t.Error("a token of a removed client is let in")
		}
		_, err = w.asksAs(r.ID)
		w.wants("invalid_client", err)
		if !slices.Contains(w.events, deviceauth.EventClientRemoved) {
			t.Errorf("events %v", w.events)
		}
	}, withRegistration(nil))
}

// protocol 53, 55
func TestApprovalEndsWhenTheClientChanges(t *testing.T) {
	in(t, func(w *world) {
		r := w.register("192.0.2.1")
		if err := w.ApproveClient(w.Context(), r.ID, "operator"); err != nil {
			t.Fatal(err)
		}
		checked := func() bool {
			c, err := w.LoadClient(w.Context(), r.ID)
			if err != nil || c == nil {
				t.Fatalf("%v, %v", c, err)
			}
			return c.Checked
		}
		if !checked() {
			t.Error("an approved client is not checked")
		}
		change := func(name string) {
			m := registerRequest("192.0.2.1").Metadata
			m.Name = name
			if _, err := w.ChangeRegistration(w.Context(), r.ID,
				deviceauth.RegisterRequest{Token: r.Token, Metadata: m}); err != nil {
				t.Fatal(err)
			}
		}
		if change("Kiosk"); !checked() {
			t.Error("a client that says the same as before is not checked")
		}
		if change("Bank"); checked() {
			t.Error("a client that changed is checked")
		}
		w.wants("not_found", w.ApproveClient(w.Context(), "tv", ""))
		w.wants("not_found", w.ApproveClient(w.Context(), "c_nothing", ""))
		w.wants("not_found", w.RemoveClient(w.Context(), "tv", "operator"))
		w.connected("session")
		w.wants("not_found", w.RemoveClient(w.Context(), "", "operator")) // no client is not any client
		living, _, err := w.Grants(w.Context(), deviceauth.Filter{Standing: deviceauth.StandingConnected}, "", 100)
		if err != nil || len(living) == 0 {
			w.Errorf("the grants have ended: %v", err)
		}
	}, withRegistration(nil))
}

// A configuration that lets no client introduce itself any more lets none in.
//
// protocol 52, 53
func TestRegistrationThatIsTakenOutEndsItsClients(t *testing.T) {
	in(t, func(w *world) {
		tokens := w.allowsAs(w.register("192.0.2.1").ID)
		w.anew(func(c *deviceauth.Config) { c.Registration = deviceauth.Registration{} })
		if w.admit(tokens.AccessToken) == nil {
			t.Error("a client that may not introduce itself is let in")
		}
	}, withRegistration(nil))
}

const documentID = "https://client.example.org/oauth/metadata.json"

func document(change string) string {
	if change == "" {
		change = `"client_id":"` + documentID + `"`
	}
	return `{` + change + `,"client_name":"Agent","redirect_uris":["` + "http://127.0.0.1/callback" + `"],
		"grant_types":["authorization_code","refresh_token"],"token_endpoint_auth_method":"none"}`
}

// protocol 52
func TestClientWithADocumentLogsIn(t *testing.T) {
	in(t, func(w *world) {
		r := codeRequest()
		r.ClientID = documentID
		if err := w.CheckRedirect(w.Context(), r.ClientID, r.RedirectURI); err != nil {
			t.Fatal(err)
		}
		e := exchangeOf(w.code(r))
		e.Client.ClientID = documentID
		tokens, err := w.Exchange(w.Context(), e)
		if err != nil || tokens.Scope != "openid offline_access read" {
			t.Fatalf("%v, %v", tokens, err)
		}
		c, err := w.LoadClient(w.Context(), documentID)
		if err != nil || !c.Introduced || c.Checked || c.Host != "client.example.org" || c.Logo != "" {
			t.Errorf("%+v, %v", c, err)
		}
		list, err := w.IntroducedClients(w.Context())
		if err != nil || len(list) != 1 || list[0].ID != documentID {
			t.Errorf("listed %v, %v", list, err)
		}
		if err := w.ApproveClient(w.Context(), documentID, "operator"); err != nil {
			t.Fatal(err)
		}
		if c, _ := w.LoadClient(w.Context(), documentID); !c.Checked {
			t.Error("it is not approved")
		}
		if err := w.RemoveClient(w.Context(), documentID, "operator"); err != nil {
			t.Fatal(err)
		}
		if w.admit(tokens.AccessToken) == nil {
			t.Error("a token of a removed client is let in")
		}
	}, withRegistration(map[string]string{documentID: document("")}), withCLI(nil))
}

// protocol 52
func TestDocumentThatCannotBeUsedIsNamed(t *testing.T) {
	in(t, func(w *world) {
		for change, want := range map[string]string{
			`"client_id":"https://client.example.org/other"`:                "another",
			`"client_id":"` + documentID + `","client_secret":"x"`:          "public client",
			`"client_id":"` + documentID + `","redirect_uris":["x"],"x":""`: "",
			`"client_id":7`: "JSON",
		} {
			w.anew(withRegistration(map[string]string{documentID: document(change)}))
			err := w.CheckRedirect(w.Context(), documentID, loopback)
			if want == "" { // a repeated member: the last one counts
				w.wants("", err)
				continue
			}
			w.wants("bad_document", err)
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", change, err, want)
			}
			_, err = w.asksAs(documentID)
			w.wants("invalid_client", err)
		}
	}, withRegistration(nil))
}

// protocol 52
func TestClientIDThatIsNoDocumentOfAnAllowedHost(t *testing.T) {
	in(t, func(w *world) {
		for _, id := range []string{
			"http://client.example.org/a", "https://client.example.org", "https://client.example.org/",
			"https://client.example.org/a#b", "https://user@client.example.org/a", "https://client.example.org/a/../b",
			"https://client.example.org/./a", "https://client.example.org/%61", "https://example.org/a",
			"https://client.example.org.evil.example/a", "https://evil.example/client.example.org/a",
			"https://client.example.org\\@evil.example/a", "HTTPS://client.example.org/a",
			"https://client.example.org/" + strings.Repeat("a", 512), "https://client.example.org:443x/a",
		} {
			w.wants("unknown_client", w.CheckRedirect(w.Context(), id, loopback))
		}
	}, withRegistration(nil), func(c *deviceauth.Config) {
		c.Registration.Fetch = func(_ context.Context, url string) ([]byte, error) {
			t.Errorf("%s is fetched", url)
			return nil, errors.New("no")
		}
	})
}

// What a store says about clients ends nothing.
//
// protocol 53
func TestRecordOfAClientThatCannotBeReadIsAFault(t *testing.T) {
	in(t, func(w *world) {
		r := w.register("192.0.2.1")
		name := deviceauth.ClientDocument(r.ID)
		if err := w.store.PutDocument(w.Context(), name, []byte("{"), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if _, err := w.asksAs(r.ID); err == nil || deviceauth.AsError(err) != nil {
			t.Errorf("got %v, want a fault", err)
		}
		if err := w.store.PutDocument(w.Context(), "clients", []byte("["), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Register(w.Context(), registerRequest("192.0.2.9")); err == nil ||
			deviceauth.AsError(err) != nil {
			t.Errorf("got %v, want a fault", err)
		}
	}, withRegistration(nil))
}

func TestRegistrationConfigIsChecked(t *testing.T) {
	for _, r := range []deviceauth.Registration{
		{Open: true}, {Open: true, Token: "x", Scope: "a"}, {Documents: []string{"*"}, Scope: "a"},
		{Documents: []string{""}, Scope: "a"}, {Documents: []string{"https://a"}, Scope: "a"},
		{Open: true, Scope: "a", Limit: -1},
	} {
		c := deviceauth.Config{Issuer: "https://localhost", Registration: r}
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), "registration") {
			t.Errorf("%s: got %v", fmt.Sprint(r), err)
		}
	}
}

// interrupted is a store in which something else happens before each change.
type interrupted struct {
	*memstore.Store
	before func()
}

func (s *interrupted) Update(ctx context.Context, id deviceauth.ID, change func(*deviceauth.Grant) error) error {
	if s.before != nil {
		s.before()
	}
	return s.Store.Update(ctx, id, change)
}

// Approvals of the same client by other people end no login, although each of them
// fetches the client's document again.
//
// protocol 4, 52
func TestOthersYesEndsNothing(t *testing.T) {
	in(t, func(w *world) {
		store := &interrupted{Store: w.store}
		w.anew(func(c *deviceauth.Config) { c.Store = store })
		r := codeRequest()
		r.ClientID = documentID
		e := exchangeOf(w.code(r))
		e.Client.ClientID = documentID
		other := codeRequest()
		other.ClientID = documentID
		store.before = func() {
			store.before = nil
			time.Sleep(2 * time.Second) // the cached client has expired
			w.code(other)
			if err := w.ApproveClient(w.Context(), documentID, ""); err != nil {
				t.Error(err)
			}
		}
		again := store.before
		tokens, err := w.Exchange(w.Context(), e)
		if err != nil {
			t.Fatalf("the exchange: %v", err)
		}
		store.before = again
		if _, err := w.Refresh(w.Context(), deviceauth.RefreshRequest{
			Client: e.Client, RefreshToken: tokens.RefreshToken.Reveal(),
		}); err != nil {
			t.Fatalf("the refresh: %v", err)
		}
		store.before = again
		if w.code(r) == "" {
			t.Error("no code")
		}
	}, withRegistration(map[string]string{documentID: document("")}), withCLI(nil))
}

// A document that is unavailable for a moment ends no login.
//
// protocol 4, 52
func TestDocumentThatIsAwayIsNoRefusal(t *testing.T) {
	in(t, func(w *world) {
		r := codeRequest()
		r.ClientID = documentID
		e := exchangeOf(w.code(r))
		e.Client.ClientID = documentID
		w.anew(withRegistration(nil))
		_, err := w.Exchange(w.Context(), e)
		if !errors.As(err, new(*deviceauth.DocumentFault)) || deviceauth.AsError(err) != nil {
			t.Errorf("got %v, want a fault of the document", err)
		}
		w.anew(withRegistration(map[string]string{documentID: document("")}))
		if _, err := w.Exchange(w.Context(), e); err != nil {
			t.Error(err)
		}
	}, withRegistration(map[string]string{documentID: document("")}), withCLI(nil))
}

// protocol 55
func TestRemovalIsSaidAgainAfterAFault(t *testing.T) {
	in(t, func(w *world) {
		client := w.register("192.0.2.1")
		tokens := w.allowsAs(client.ID)
		m := w.muted()
		m.times.Store(1)
		if err := w.RemoveClient(w.Context(), client.ID, "operator"); err == nil || deviceauth.AsError(err) != nil {
			t.Fatalf("got %v, want a fault", err)
		}
		if err := w.RemoveClient(w.Context(), client.ID, "operator"); err != nil {
			t.Fatal(err)
		}
		if w.admit(tokens.AccessToken) == nil {
			t.Error("a token of a removed client is let in")
		}
		w.wants("not_found", w.RemoveClient(w.Context(), client.ID, "operator"))
	}, withRegistration(nil))
}

// protocol 53
func TestUnusedClientsGiveWay(t *testing.T) {
	in(t, func(w *world) {
		for _, from := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"} {
			w.allowsAs(w.register(from).ID)
		}
		_, err := w.Register(w.Context(), registerRequest("192.0.2.4"))
		w.wants("temporarily_unavailable", err)
		time.Sleep(92 * 24 * time.Hour) // no refresh token lives that long
		w.register("192.0.2.4")
	}, withRegistration(nil))
}

// protocol 53
func TestListOfClientsThatIsNothingIsEmpty(t *testing.T) {
	in(t, func(w *world) {
		if err := w.store.PutDocument(w.Context(), "clients", []byte("null"), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		w.register("192.0.2.1")
	}, withRegistration(nil))
}
