package gateway_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/gateway"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/memstore"
	"github.com/deviceauth/caddy-deviceauth/upstreamidp"
	"github.com/deviceauth/caddy-deviceauth/upstreamidp/idptest"
)

// protect puts a device login before an API that knows nothing of it.
func protect(
	ctx context.Context, issuer, provider string, storage deviceauth.Storage, api http.Handler,
) (http.Handler, error) {
	login, err := gateway.Open(ctx, storage, gateway.Config{
		Login: deviceauth.Config{
			Issuer: issuer,
			Clients: []deviceauth.Client{
				{ID: "tv", Name: "Television", Public: true, Scope: "openid offline_access products:read"},
			},
		},
		Upstreams: []upstreamidp.Config{{
			ID: "work", Issuer: provider, ClientID: idptest.ClientID, ClientSecret: idptest.ClientSecret,
			UserClaim: "preferred_username",
		}},
	})
	if err != nil {
		return nil, err
	}
	go login.Run(ctx) // until the context ends: signing keys are replaced in time
	guarded := login.Guard(api, guard.Options{Need: deviceauth.Requirement{Scope: "products:read"}})
	handler := login.Handler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if handler.Serves(r.URL.Path) {
			handler.ServeHTTP(w, r)
			return
		}
		guarded.ServeHTTP(w, r)
	}), nil
}

// The gateway before a handler of the same program.
func Example() {
	provider := idptest.Start()
	defer provider.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello, %s", r.Header.Get("Remote-User"))
	})
	handler, err := protect(context.Background(), "http://"+listener.Addr().String(), provider.URL, memstore.New(), api)
	if err != nil {
		fmt.Println(err)
		return
	}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: handler}}
	server.Start()
	defer server.Close()

	res, err := http.Get(server.URL + "/products")
	if err != nil {
		fmt.Println(err)
		return
	}
	res.Body.Close()
	fmt.Println(res.StatusCode)
	// Output: 401
}
