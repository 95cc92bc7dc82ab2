package deviceauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// What faults do to clients that introduced themselves: nothing.

// failingDocuments are documents of which some cannot be read or written.
type failingDocuments struct {
	deviceauth.Documents
	reads   int                     // how many reads of clients' records fail
	updates func(name string) error // decides about each write of clients; nil: none fails
}

var errStoreAway = errors.New("the store is away")

func (d *failingDocuments) LoadDocument(ctx context.Context, name string) ([]byte, error) {
	if d.reads > 0 && strings.HasPrefix(name, "client.") {
		d.reads--
		return nil, errStoreAway
	}
	return d.Documents.LoadDocument(ctx, name)
}

func (d *failingDocuments) UpdateDocument(
	ctx context.Context, name string, change func([]byte) ([]byte, error),
) error {
	if d.updates != nil && strings.HasPrefix(name, "client") {
		if err := d.updates(name); err != nil {
			return err
		}
	}
	if ctx.Err() != nil { // as the stores do
		return ctx.Err()
	}
	return d.Documents.UpdateDocument(ctx, name, change)
}

// failingDocuments replaces the documents by some that may fail, and restarts the engine.
func (w *world) failingDocuments() *failingDocuments {
	w.Helper()
	d := &failingDocuments{Documents: w.store}
	w.anew(func(c *deviceauth.Config) { c.Documents = d })
	return d
}

// browserClient is a registration of a program on the person's computer.
func browserClient() deviceauth.RegisterRequest {
	m, err := deviceauth.ParseClientMetadata([]byte(`{"client_name":"Editor","token_endpoint_auth_method":"none",
		"grant_types":["authorization_code","refresh_token"],"redirect_uris":["` + loopback + `"]}`))
	if err != nil {
		panic(err)
	}
	return deviceauth.RegisterRequest{Metadata: m, From: here}
}

const deviceDocument = `{"client_id":"` + documentID + `","client_name":"Agent","token_endpoint_auth_method":"none",
	"grant_types":["urn:ietf:params:oauth:grant-type:device_code","refresh_token"]}`

// A device whose client cannot be looked up now is not told that it was denied, which
// would end its login.
//
// protocol 4, 52
func TestFaultAtAPollIsNoDenial(t *testing.T) {
	in(t, func(w *world) {
		registered := w.register("192.0.2.1")
		for _, id := range []string{registered.ID, documentID} {
			a, err := w.asksAs(id)
			if err != nil {
				t.Fatal(err)
			}
			w.answer(a, true)
			poll := deviceauth.RedeemRequest{
				Client: deviceauth.Credentials{ClientID: id}, DeviceCode: a.DeviceCode.Reveal(),
			}
			w.failingDocuments().reads = 1
			w.config.Registration.Fetch = func(context.Context, string) ([]byte, error) { return nil, errStoreAway }
			if id == documentID {
				w.anew(func(*deviceauth.Config) {})
			}
			if _, err := w.Redeem(w.Context(), poll); err == nil || deviceauth.AsError(err) != nil {
				t.Errorf("%s: got %v, want a fault", id, err)
			}
			w.anew(withRegistration(map[string]string{documentID: deviceDocument}))
			if _, err := w.Redeem(w.Context(), poll); err != nil {
				t.Errorf("%s: the next poll: %v", id, err)
			}
		}
	}, withRegistration(map[string]string{documentID: deviceDocument}))
}

// A right user code is no wrong guess, and an approval no refusal of the person, where the
// document of the client cannot be fetched now.
//
// protocol 4, 36, 44
func TestPersonIsNotRefusedForADocumentThatIsAway(t *testing.T) {
	in(t, func(w *world) {
		a, err := w.asksAs(documentID)
		if err != nil {
			t.Fatal(err)
		}
		g, err := w.inspect(alice, a.UserCode)
		if err != nil {
			t.Fatal(err)
		}
		w.anew(withRegistration(nil))
		w.events = nil
		allow := deviceauth.AnswerRequest{Grant: g.ID, Allow: true, Person: alice, From: here}
		for range 20 { // more than a person may guess
			if _, err := w.inspect(alice, a.UserCode); err == nil || deviceauth.AsError(err) != nil {
				t.Fatalf("the code: got %v, want a fault", err)
			}
		}
		if _, err := w.Answer(w.Context(), allow); err == nil || deviceauth.AsError(err) != nil {
			t.Errorf("the answer: got %v, want a fault", err)
		}
		if len(w.events) > 0 {
			t.Errorf("events: %v", w.events)
		}
		w.anew(withRegistration(map[string]string{documentID: deviceDocument}))
		if _, err := w.Answer(w.Context(), allow); err != nil {
			t.Errorf("the answer, later: %v", err)
		}
	}, withRegistration(map[string]string{documentID: deviceDocument}))
}

// A person can say no at any time, whatever is known of the client.
//
// protocol 38, 52
func TestDenialNeedsNoDocument(t *testing.T) {
	in(t, func(w *world) {
		for _, reported := range []bool{true, false} {
			a, err := w.asksAs(documentID)
			if err != nil {
				t.Fatal(err)
			}
			g, err := w.inspect(alice, a.UserCode)
			if err != nil {
				t.Fatal(err)
			}
			w.anew(withRegistration(nil))
			denied, err := w.Answer(w.Context(),
				deviceauth.AnswerRequest{Grant: g.ID, Person: alice, From: here, Reported: reported})
			if err != nil || denied.State != deviceauth.Denied {
				t.Errorf("%+v, %v; want it denied", denied, err)
			}
			w.anew(func(*deviceauth.Config) {})
		}
	}, withRegistration(map[string]string{documentID: deviceDocument}))
}

// A client that a person approved is not forgotten after a day, even if neither its record
// nor the list of clients could be written then.
//
// protocol 53
func TestClientThatWasApprovedIsNotForgotten(t *testing.T) {
	for name, fails := range map[string]func(name string) bool{
		"the record": func(name string) bool { return name != "clients" },
		"the list":   func(name string) bool { return name == "clients" },
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(w *world) {
				refresh := w.clicksTwice(fails)
				time.Sleep(25 * time.Hour)
				w.register("192.0.2.9") // which has unused clients removed
				if _, err := w.Refresh(w.Context(), refresh); err != nil {
					t.Errorf("a day later: %v", err)
				}
			}, withRegistration(nil))
		})
	}
}

// A browser that goes away after the click does not make the client look unused.
//
// protocol 53
func TestClientIsUsedThoughTheBrowserWentAway(t *testing.T) {
	in(t, func(w *world) {
		r := w.register("192.0.2.1")
		a, err := w.asksAs(r.ID)
		if err != nil {
			t.Fatal(err)
		}
		g, err := w.inspect(alice, a.UserCode)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(w.Context())
		d := w.failingDocuments()
		d.updates = func(string) error { cancel(); return nil }
		allow := deviceauth.AnswerRequest{Grant: g.ID, Allow: true, Person: alice, From: here}
		if _, err := w.Answer(ctx, allow); err != nil || ctx.Err() == nil {
			t.Fatalf("the answer: %v; the context: %v", err, ctx.Err())
		}
		tokens, err := w.Redeem(w.Context(), deviceauth.RedeemRequest{
			Client: deviceauth.Credentials{ClientID: r.ID}, DeviceCode: a.DeviceCode.Reveal(),
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(25 * time.Hour)
		w.register("192.0.2.9")
		_, err = w.Refresh(w.Context(), deviceauth.RefreshRequest{
			Client: deviceauth.Credentials{ClientID: r.ID}, RefreshToken: tokens.RefreshToken.Reveal(),
		})
		w.wants("", err)
	}, withRegistration(nil))
}

// clicksTwice has alice allow a registered program by two clicks. At the first one the
// writes of some documents fail. It returns the program's next refresh request.
func (w *world) clicksTwice(fails func(name string) bool) deviceauth.RefreshRequest {
	w.Helper()
	r, err := w.Register(w.Context(), browserClient())
	if err != nil {
		w.Fatal(err)
	}
	asked := codeRequest()
	asked.ClientID = r.ID
	if asked, err = w.CheckCodeRequest(w.Context(), asked, here); err != nil {
		w.Fatal(err)
	}
	d, failed := w.failingDocuments(), false
	d.updates = func(name string) error {
		if fails(name) {
			failed = true
			return errStoreAway
		}
		return nil
	}
	if _, _, err := w.AnswerCode(w.Context(), answerCode(asked, true)); err != nil || !failed {
		w.Fatalf("the first click: %v; a write failed: %v", err, failed)
	}
	if !fails("clients") { // else the second click would write it
		d.updates = nil
	}
	code, _, err := w.AnswerCode(w.Context(), answerCode(asked, true))
	if err != nil {
		w.Fatal(err)
	}
	d.updates = nil
	exchange := exchangeOf(code)
	exchange.Client.ClientID = r.ID
	tokens, err := w.Exchange(w.Context(), exchange)
	if err != nil {
		w.Fatal(err)
	}
	return deviceauth.RefreshRequest{Client: exchange.Client, RefreshToken: tokens.RefreshToken.Reveal()}
}

// protocol 4, 53
func TestClientRemovesItselfAgainAfterAFault(t *testing.T) {
	in(t, func(w *world) {
		r := w.register("192.0.2.1")
		tokens := w.allowsAs(r.ID)
		w.muted().times.Store(1)
		if err := w.Deregister(w.Context(), r.ID, r.Token); err == nil || deviceauth.AsError(err) != nil {
			t.Fatalf("got %v, want a fault", err)
		}
		if _, err := w.asksAs(r.ID); err == nil {
			t.Error("it still has device codes")
		}
		if err := w.Deregister(w.Context(), r.ID, r.Token); err != nil {
			t.Fatalf("again: %v", err)
		}
		if w.admit(tokens.AccessToken) == nil {
			t.Error("a token of a removed client is let in")
		}
		w.wants("invalid_token", w.Deregister(w.Context(), r.ID, r.Token))
	}, withRegistration(nil))
}

// What is listed can be removed: clients that may no longer introduce themselves, and
// those whose record cannot be read.
//
// protocol 55
func TestWhatIsListedCanBeRemoved(t *testing.T) {
	in(t, func(w *world) {
		asked := codeRequest()
		asked.ClientID = documentID
		exchange := exchangeOf(w.code(asked))
		exchange.Client.ClientID = documentID
		if _, err := w.Exchange(w.Context(), exchange); err != nil {
			t.Fatal(err)
		}
		r := w.register("192.0.2.1")
		tokens := w.allowsAs(r.ID)
		garbled := func([]byte) ([]byte, error) { return []byte("nonsense"), nil }
		document := deviceauth.ClientDocument(r.ID)
		if err := w.store.UpdateDocument(w.Context(), document, garbled); err != nil {
			t.Fatal(err)
		}
		w.anew(func(c *deviceauth.Config) { c.Registration = deviceauth.Registration{} })
		list, err := w.IntroducedClients(w.Context())
		if err != nil || len(list) != 2 {
			t.Fatalf("%d clients, %v; want 2", len(list), err)
		}
		for _, c := range list {
			if err := w.RemoveClient(w.Context(), c.ID, "operator"); err != nil {
				t.Errorf("%s: %v", c.ID, err)
			}
		}
		w.anew(withRegistration(map[string]string{documentID: document}))
		for _, id := range []string{documentID, r.ID} {
			live, _, err := w.Grants(w.Context(),
				deviceauth.Filter{Client: id, Standing: deviceauth.StandingLive}, "", 10)
			if err != nil || len(live) > 0 {
				t.Errorf("%s: %d live grants, %v", id, len(live), err)
			}
		}
		if w.admit(tokens.AccessToken) == nil {
			t.Error("a token of a removed client is let in")
		}
	}, withRegistration(map[string]string{documentID: document("")}), withCLI(nil))
}

// An answer that met a fault can be given again as long as the question is open, not only
// for the minute of an authorization code.
//
// protocol 4, 48
func TestAnswerIsGivenAgainLongAfterAFault(t *testing.T) {
	for _, allow := range []bool{true, false} {
		in(t, func(w *world) {
			asked, err := w.CheckCodeRequest(w.Context(), codeRequest(), here)
			if err != nil {
				t.Fatal(err)
			}
			w.anew(func(c *deviceauth.Config) { c.Store = closedStore{Store: w.store} })
			if _, _, err := w.AnswerCode(w.Context(), answerCode(asked, true)); !errors.Is(err, errStoreAway) {
				t.Fatalf("got %v, want the fault of the store", err)
			}
			w.anew(func(*deviceauth.Config) {})
			time.Sleep(20 * time.Minute)
			code, g, err := w.AnswerCode(w.Context(), answerCode(asked, allow))
			if err != nil {
				t.Fatalf("allow %v: %v", allow, err)
			}
			if !allow {
				if g.State != deviceauth.Denied {
					t.Errorf("the grant is %s", g.State)
				}
				time.Sleep(9 * time.Minute) // the page can still be submitted
				_, _, err := w.AnswerCode(w.Context(), answerCode(asked, true))
				w.wants("decided", err)
				return
			}
			if _, err := w.Exchange(w.Context(), exchangeOf(code)); err != nil {
				t.Errorf("the code: %v", err)
			}
		}, withCLI(nil))
	}
}

// An authorization code is used once, as long as the page of its request can be submitted:
// the record of its grant is kept for as long, even if its tokens have expired.
//
// protocol 49
func TestCodeIsUsedOnceWhileItsPageIsOpen(t *testing.T) {
	in(t, func(w *world) {
		asked, err := w.CheckCodeRequest(w.Context(), codeRequest(), here)
		if err != nil {
			t.Fatal(err)
		}
		code, _, err := w.AnswerCode(w.Context(), answerCode(asked, true))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Exchange(w.Context(), exchangeOf(code)); err != nil {
			t.Fatal(err)
		}
		for range 28 {
			time.Sleep(time.Minute)
			_, _, err := w.AnswerCode(w.Context(), answerCode(asked, true))
			w.wants("decided", err)
		}
	}, withCLI(func(c *deviceauth.Client) { c.Scope = "openid read" }), func(c *deviceauth.Config) {
		c.Lifetime.AccessToken = time.Minute
	})
}

// Two clicks at the same time give one code.
//
// protocol 38, 49
func TestSimultaneousClicksGiveOneCode(t *testing.T) {
	in(t, func(w *world) {
		for range 50 {
			asked, err := w.CheckCodeRequest(w.Context(), codeRequest(), here)
			if err != nil {
				t.Fatal(err)
			}
			var codes [2]deviceauth.Secret
			var clicks sync.WaitGroup
			for i := range codes {
				clicks.Go(func() {
					var err error
					codes[i], _, err = w.AnswerCode(w.Context(), answerCode(asked, true))
					w.wants("", err)
				})
			}
			clicks.Wait()
			if codes[0] == "" || codes[0] != codes[1] {
				t.Fatalf("the codes are %q and %q", codes[0], codes[1])
			}
		}
	}, withCLI(nil))
}

// Pending device codes, as of others behind the same address, do not limit answers.
//
// protocol 12, 48
func TestPendingCodesLimitNoAnswers(t *testing.T) {
	in(t, func(w *world) {
		w.authorize()
		for _, allow := range []bool{true, false} {
			asked, err := w.CheckCodeRequest(w.Context(), codeRequest(), here)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := w.AnswerCode(w.Context(), answerCode(asked, allow)); err != nil {
				t.Errorf("allow %v: %v", allow, err)
			}
		}
	}, withCLI(nil), func(c *deviceauth.Config) { c.Pending.PerAddress = 1 })
}

// protocol 53
func TestChangesOfClientsAreLimited(t *testing.T) {
	in(t, func(w *world) {
		r := w.register("192.0.2.1")
		change := registerRequest("192.0.2.1")
		change.Token = r.Token
		var limit *deviceauth.RateLimitError
		for range 20 {
			if _, err := w.ChangeRegistration(w.Context(), r.ID, change); err != nil && !errors.As(err, &limit) {
				t.Fatal(err)
			}
		}
		if limit == nil {
			t.Error("twenty changes in a minute are taken")
		}
	}, withRegistration(nil))
}

// A client is told of all scopes that it has, and may send that back.
//
// protocol 53
func TestClientSendsItsOwnMetadataBack(t *testing.T) {
	in(t, func(w *world) {
		var scopes []string
		for i := range 60 {
			scopes = append(scopes, fmt.Sprintf("resource-%d:read", i))
		}
		w.anew(func(c *deviceauth.Config) { c.Registration.Scope = deviceauth.NewScope(scopes...) })
		r := w.register("192.0.2.1")
		m, err := r.Metadata.Complete()
		if err != nil || len(m.Scope) < 900 {
			t.Fatalf("%d bytes of scopes, %v", len(m.Scope), err)
		}
		request := deviceauth.RegisterRequest{Token: r.Token, Metadata: m, From: netip.MustParseAddr("192.0.2.1")}
		if _, err := w.ChangeRegistration(w.Context(), r.ID, request); err != nil {
			t.Error(err)
		}
	}, withRegistration(nil))
}

// An approval is for what the operator has seen: a client that has since become one for
// devices is to be checked anew.
//
// protocol 53, 55
func TestApprovalEndsWithANewWayIn(t *testing.T) {
	in(t, func(w *world) {
		request := browserClient()
		r, err := w.Register(w.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.ApproveClient(w.Context(), r.ID, "operator"); err != nil {
			t.Fatal(err)
		}
		request.Token = r.Token
		if changed, err := w.ChangeRegistration(w.Context(), r.ID, request); err != nil || !changed.Approved {
			t.Errorf("unchanged: %+v, %v; want it approved", changed, err)
		}
		request.Metadata.GrantTypes = append(slices.Clone(request.Metadata.GrantTypes),
			"urn:ietf:params:oauth:grant-type:device_code")
		if changed, err := w.ChangeRegistration(w.Context(), r.ID, request); err != nil || changed.Approved {
			t.Errorf("with the device grant: %+v, %v; want it not approved", changed, err)
		}
	}, withRegistration(nil))
}

// protocol 47, 53
func TestIssuerInAnySpellingIsNoRedirectURI(t *testing.T) {
	in(t, func(w *world) {
		for _, uri := range []string{"https://api.example.com/cb", "https://API.example.com/cb",
			"https://api.example.com:443/cb", "https://api.example.com:0443/cb", "https://api.example.com./cb",
			"https://api.example.com.:443/cb"} {
			request := browserClient()
			request.Metadata.RedirectURIs = []string{uri}
			_, err := w.Register(w.Context(), request)
			w.wants("invalid_redirect_uri", err)
		}
	}, withRegistration(nil))
}

// protocol 52
func TestDocumentsHaveOneSpelling(t *testing.T) {
	in(t, func(w *world) {
		for _, id := range []string{"https://Client.example.org/oauth/metadata.json",
			"https://client.example.org:443/oauth/metadata.json",
			"https://client.example.org:0443/oauth/metadata.json"} {
			w.wants("unknown_client", w.CheckRedirect(w.Context(), id, loopback))
		}
		w.wants("", w.CheckRedirect(w.Context(), documentID, loopback))
	}, withRegistration(map[string]string{documentID: document("")}), func(c *deviceauth.Config) {
		c.Registration.Documents = []string{"*.example.org*"} // with any port
	})
}

// At another gateway the store may still have the grant as it was before the second click.
//
// protocol 49
func TestExchangeReadsTheCurrentGrant(t *testing.T) {
	in(t, func(w *world) {
		asked, err := w.CheckCodeRequest(w.Context(), codeRequest(), here)
		if err != nil {
			t.Fatal(err)
		}
		w.anew(func(c *deviceauth.Config) { c.Store = closedStore{Store: w.store} })
		w.AnswerCode(w.Context(), answerCode(asked, true))
		earlier, err := w.store.Get(w.Context(), asked.ID)
		if err != nil || earlier.State != deviceauth.Pending {
			t.Fatalf("%+v, %v; want it pending", earlier, err)
		}
		w.anew(func(*deviceauth.Config) {})
		code, _, err := w.AnswerCode(w.Context(), answerCode(asked, true))
		if err != nil {
			t.Fatal(err)
		}
		w.anew(func(c *deviceauth.Config) { c.Store = lateStore{Store: w.store, earlier: earlier} })
		if _, err := w.Exchange(w.Context(), exchangeOf(code)); err != nil {
			t.Error(err)
		}
	}, withCLI(nil))
}

// A closedStore changes no grant.
type closedStore struct{ deviceauth.Store }

func (closedStore) Update(context.Context, deviceauth.ID, func(*deviceauth.Grant) error) error {
	return errStoreAway
}

// A lateStore returns an earlier state of a grant, as Get may for a second.
type lateStore struct {
	deviceauth.Store
	earlier *deviceauth.Grant
}

func (s lateStore) Get(context.Context, deviceauth.ID) (*deviceauth.Grant, error) {
	return s.earlier, nil
}
