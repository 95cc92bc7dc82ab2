package guard_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
)

// knowsOne is a validator of tokens that knows one of them. In a program it is
// the engine, or package guard/remote for a server elsewhere.
type knowsOne struct{}

func (knowsOne) Issuer() string                            { return "https://connect.example.com" }
func (knowsOne) AllowsOrigin(context.Context, string) bool { return false }
func (knowsOne) Audience() []string                        { return []string{"https://api.example.com"} }

func (knowsOne) ValidateToken(_ context.Context, token string, _ deviceauth.Requirement) (*deviceauth.Identity, error) {
	if token != "good" {
		return nil, deviceauth.NewError("invalid_token", "nobody knows this token")
	}
	alice := &deviceauth.Person{Subject: "work|1", Upstream: "work", User: "alice"}
	return deviceauth.NewIdentity(alice, &deviceauth.AccessClaims{ClientID: "tv"}), nil
}

// The guard alone, before a handler that knows nothing of OAuth.
func ExampleGuard_Middleware() {
	api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "hello, ", r.Header.Get("Remote-User"))
	})
	guarded := guard.New(guard.Options{}, knowsOne{}).Middleware(api)
	for _, token := range []string{"good", "bad"} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Remote-User", "root")
		w := httptest.NewRecorder()
		guarded.ServeHTTP(w, r)
		fmt.Println(w.Code, w.Body)
	}
	// Output:
	// 200 hello, alice
	// 401 Nobody knows this token. Tokens are given by https://connect.example.com
}
