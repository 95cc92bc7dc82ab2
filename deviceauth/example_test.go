package deviceauth_test

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/keyring"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/memstore"
)

// The rules without HTTP: a device asks, a person says yes, the device has its tokens.
func Example() {
	ctx, storage := context.Background(), memstore.New()
	keys, err := keyring.Open(ctx, storage, "")
	if err != nil {
		fmt.Println(err)
		return
	}
	engine, err := deviceauth.New(deviceauth.Config{
		Issuer:  "https://connect.example.com",
		Clients: []deviceauth.Client{{ID: "tv", Public: true, Scope: "openid offline_access"}},
		Allow:   map[string][]deviceauth.Allow{"work": nil}, // everyone who can sign in there
		Store:   storage, Signer: keys, RefreshKey: keys.Source(keyring.PurposeRefresh),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer engine.Close()
	device := deviceauth.Credentials{ClientID: "tv"}
	home := netip.MustParseAddr("192.0.2.1")

	asked, err := engine.Authorize(ctx, deviceauth.AuthorizeRequest{Client: device, From: home})
	if err != nil {
		fmt.Println(err)
		return
	}
	alice := &deviceauth.Person{Subject: "work|1", Upstream: "work", User: "alice"}
	grant, err := engine.Inspect(ctx, deviceauth.InspectRequest{Person: alice, From: home, Code: asked.UserCode})
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := engine.Answer(ctx,
		deviceauth.AnswerRequest{Grant: grant.ID, Allow: true, Person: alice, From: home}); err != nil {
		fmt.Println(err)
		return
	}
	tokens, err := engine.Redeem(ctx, deviceauth.RedeemRequest{Client: device, DeviceCode: asked.DeviceCode.Reveal()})
	if err != nil {
		fmt.Println(err)
		return
	}
	id, err := engine.ValidateToken(ctx, tokens.AccessToken.Reveal(), deviceauth.Requirement{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(id.Claim("user"), id.Scope)
	// Output: alice openid offline_access
}
