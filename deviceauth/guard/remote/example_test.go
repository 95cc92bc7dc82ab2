package remote_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/gateway"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard/remote"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/keyring"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/memstore"
)

// protect is the program with the guard: it knows the server's URL and a client there,
// and has neither engine nor storage.
func protect(issuer string, api http.Handler) (http.Handler, error) {
	server, err := remote.New(remote.Config{Issuer: issuer, ClientID: "orders", ClientSecret: "s3cret"})
	if err != nil {
		return nil, err
	}
	return guard.New(guard.Options{Need: deviceauth.Requirement{Scope: "orders:read"}}, server).Middleware(api), nil
}

// A guard in another process than the server whose tokens it accepts.
func Example() {
	ctx := context.Background()
	server := httptest.NewUnstartedServer(nil)
	issuer := "http://" + server.Listener.Addr().String()
	engine, handler, err := login(ctx, issuer)
	if err != nil {
		fmt.Println(err)
		return
	}
	server.Config.Handler = handler
	server.Start()
	defer server.Close()
	token, err := connect(ctx, engine)
	if err != nil {
		fmt.Println(err)
		return
	}

	guarded, err := protect(issuer, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello, %s", r.Header.Get("Remote-User"))
	}))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, authorization := range []string{"Bearer " + token, "Bearer " + token + "x"} {
		r := httptest.NewRequest(http.MethodGet, "/orders", nil)
		r.Header.Set("Authorization", authorization)
		w := httptest.NewRecorder()
		guarded.ServeHTTP(w, r)
		fmt.Println(w.Code)
		if w.Code == http.StatusOK {
			fmt.Println(w.Body)
		}
	}
	// Output:
	// 200
	// hello, alice
	// 401
}

// login is the server. In a real program it has upstreams and pages, see package
// gateway. The client of the guard is a ResourceServer.
func login(ctx context.Context, issuer string) (*deviceauth.Engine, http.Handler, error) {
	storage := memstore.New()
	keys, err := keyring.Open(ctx, storage, "")
	if err != nil {
		return nil, nil, err
	}
	engine, err := deviceauth.New(deviceauth.Config{
		Issuer: issuer, Store: storage, Signer: keys, RefreshKey: keys.Source(keyring.PurposeRefresh),
		Allow: map[string][]deviceauth.Allow{"work": nil}, // everyone who can sign in there
		Clients: []deviceauth.Client{
			{ID: "tv", Public: true, Scope: "openid orders:read"},
			{ID: "orders", Secret: "s3cret", ResourceServer: true},
		},
	})
	if err != nil {
		return nil, nil, err
	}
	handler, err := gateway.NewHandler(gateway.HandlerConfig{
		Engine: engine, Keys: keys, CookieKey: keys.Source(keyring.PurposeCookie),
	})
	return engine, handler, err
}

// connect does what a device and its person do: it asks, she approves, it has a token.
func connect(ctx context.Context, engine *deviceauth.Engine) (accessToken string, err error) {
	tv := deviceauth.Credentials{ClientID: "tv"}
	asked, err := engine.Authorize(ctx, deviceauth.AuthorizeRequest{Client: tv, From: deviceAddr})
	if err != nil {
		return "", err
	}
	alice := &deviceauth.Person{Subject: "work|1", Upstream: "work", User: "alice"}
	grant, err := engine.Inspect(ctx, deviceauth.InspectRequest{Person: alice, From: deviceAddr, Code: asked.UserCode})
	if err != nil {
		return "", err
	}
	yes := deviceauth.AnswerRequest{Grant: grant.ID, Allow: true, Person: alice, From: deviceAddr}
	if _, err := engine.Answer(ctx, yes); err != nil {
		return "", err
	}
	tokens, err := engine.Redeem(ctx, deviceauth.RedeemRequest{Client: tv, DeviceCode: asked.DeviceCode.Reveal()})
	if err != nil {
		return "", err
	}
	return tokens.AccessToken.Reveal(), nil
}
