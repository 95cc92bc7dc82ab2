package deviceauth_test

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

const (
	cliVerifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" // RFC 7636 appendix B
	loopback    = "http://127.0.0.1:49152/callback"
)

// withCLI adds a program that logs in by the browser.
func withCLI(change func(*deviceauth.Client)) func(*deviceauth.Config) {
	return func(c *deviceauth.Config) {
		cli := deviceauth.Client{
			ID: "cli", Public: true, Scope: "openid email offline_access read",
			Redirects: []string{"http://127.0.0.1/callback", "https://app.example.com/cb", "com.example.app:/cb"},
		}
		if change != nil {
			change(&cli)
		}
		c.Clients = append(c.Clients, cli)
	}
}

func codeRequest() deviceauth.CodeRequest {
	sum := sha256.Sum256([]byte(cliVerifier))
	return deviceauth.CodeRequest{
		ClientID: "cli", RedirectURI: loopback, State: "st", ResponseType: "code", Nonce: "n-1",
		Challenge: base64.RawURLEncoding.EncodeToString(sum[:]), ChallengeMethod: "S256",
	}
}

// code has alice say yes to a request, and returns the authorization code.
func (w *world) code(r deviceauth.CodeRequest) deviceauth.Secret {
	w.Helper()
	r, err := w.CheckCodeRequest(w.Context(), r, here)
	if err != nil {
		w.Fatal(err)
	}
	code, _, err := w.AnswerCode(w.Context(), answerCode(r, true))
	if err != nil {
		w.Fatal(err)
	}
	return code
}

func answerCode(r deviceauth.CodeRequest, allow bool) deviceauth.AnswerCodeRequest {
	inspect := deviceauth.InspectCodeRequest{Person: alice, Request: r, From: here}
	return deviceauth.AnswerCodeRequest{InspectCodeRequest: inspect, Allow: allow}
}

func exchangeOf(code deviceauth.Secret) deviceauth.ExchangeRequest {
	return deviceauth.ExchangeRequest{
		Client: deviceauth.Credentials{ClientID: "cli"}, Code: code.Reveal(), RedirectURI: loopback,
		Verifier: cliVerifier, From: here,
	}
}

// protocol 49
func TestAuthorizationCodeIsGoodOnce(t *testing.T) {
	in(t, func(w *world) {
		code := w.code(codeRequest())
		var given atomic.Int32
		var group sync.WaitGroup
		var tokens *deviceauth.Tokens
		for range 64 {
			group.Go(func() {
				got, err := w.Exchange(w.Context(), exchangeOf(code))
				if err == nil {
					given.Add(1)
					tokens = got
				} else if refusal := deviceauth.AsError(err); refusal == nil || refusal.Code != "invalid_grant" {
					w.Errorf("got %v, want invalid_grant", err)
				}
			})
		}
		group.Wait()
		if given.Load() != 1 {
			t.Fatalf("%d of 64 exchanges were given tokens", given.Load())
		}
		if err := w.admit(tokens.AccessToken); err == nil {
			t.Error("a second use of the code left the tokens of the first good")
		}
		if !slices.Contains(w.events, deviceauth.EventReplayed) {
			t.Errorf("events %v, want %s", w.events, deviceauth.EventReplayed)
		}
	}, withCLI(nil))
}

// protocol 49, 51
func TestAuthorizationCodeIsBound(t *testing.T) {
	for name, change := range map[string]func(*deviceauth.ExchangeRequest){
		"another client":        func(r *deviceauth.ExchangeRequest) { r.Client.ClientID = "other" },
		"another redirect port": func(r *deviceauth.ExchangeRequest) { r.RedirectURI = "http://127.0.0.1:1/callback" },
		"no redirect":           func(r *deviceauth.ExchangeRequest) { r.RedirectURI = "" },
		"another verifier":      func(r *deviceauth.ExchangeRequest) { r.Verifier = strings.Repeat("a", 43) },
		"no verifier":           func(r *deviceauth.ExchangeRequest) { r.Verifier = "" },
		"the challenge":         func(r *deviceauth.ExchangeRequest) { r.Verifier = codeRequest().Challenge },
		"a device's prefix": func(r *deviceauth.ExchangeRequest) {
			r.Code = "dc_" + strings.TrimPrefix(r.Code, "ac_")
		},
		"a refresh token": func(r *deviceauth.ExchangeRequest) {
			r.Code = "rt_" + strings.TrimPrefix(r.Code, "ac_")
		},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(w *world) {
				code := w.code(codeRequest())
				r := exchangeOf(code)
				change(&r)
				_, err := w.Exchange(w.Context(), r)
				w.wants("invalid_grant", err)
				tokens, err := w.Exchange(w.Context(), exchangeOf(code))
				if err != nil {
					t.Fatalf("the honest program got %v after it", err)
				}
				if tokens.RefreshToken == "" || tokens.IDToken == "" || w.admit(tokens.AccessToken) != nil {
					t.Errorf("tokens %+v", tokens)
				}
			}, withCLI(nil), withCLI(func(c *deviceauth.Client) { c.ID = "other" }))
		})
	}
}

// A client may use the codes alone that it can ask for.
//
// protocol 13
func TestCodeOfAGrantThatTheClientDoesNotHave(t *testing.T) {
	in(t, func(w *world) {
		exchange := exchangeOf(w.code(codeRequest()))
		exchange.Client = tv
		_, err := w.Exchange(w.Context(), exchange)
		w.wants("unauthorized_client", err)
		browser, err := w.Register(w.Context(), browserClient())
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Redeem(w.Context(), deviceauth.RedeemRequest{
			Client: deviceauth.Credentials{ClientID: browser.ID}, DeviceCode: w.authorize().DeviceCode.Reveal(),
		})
		w.wants("unauthorized_client", err)
	}, withCLI(nil), withRegistration(nil))
}

// protocol 49
func TestAuthorizationCodeIsNoDeviceCode(t *testing.T) {
	in(t, func(w *world) {
		code := "dc_" + strings.TrimPrefix(w.code(codeRequest()).Reveal(), "ac_")
		_, err := w.Redeem(w.Context(), deviceauth.RedeemRequest{
			Client: deviceauth.Credentials{ClientID: "cli"}, DeviceCode: code, Verifier: cliVerifier,
		})
		w.wants("invalid_grant", err)
	}, withCLI(nil))
}

// protocol 49
func TestAuthorizationCodeExpires(t *testing.T) {
	in(t, func(w *world) {
		code := w.code(codeRequest())
		time.Sleep(time.Minute)
		_, err := w.Exchange(w.Context(), exchangeOf(code))
		w.wants("invalid_grant", err)
	}, withCLI(nil))
}

// protocol 50
func TestCodeIsNotExchangedElsewhereWhereTheNetworkIsRequired(t *testing.T) {
	for policy, wants := range map[deviceauth.Network]string{
		deviceauth.NetworkRequire: "invalid_grant", deviceauth.NetworkWarn: "", deviceauth.NetworkOff: "",
	} {
		t.Run(string(policy), func(t *testing.T) {
			in(t, func(w *world) {
				code := w.code(codeRequest())
				r := exchangeOf(code)
				r.From = away
				_, err := w.Exchange(w.Context(), r)
				if wants == "" {
					if err != nil {
						t.Fatal(err)
					}
					return
				}
				w.wants(wants, err)
				_, err = w.Exchange(w.Context(), exchangeOf(code))
				w.wants("invalid_grant", err) // the grant has ended: a person who was tricked has to see that it failed
				if !slices.Contains(w.events, deviceauth.EventRevoked) {
					t.Errorf("events %v, want %s", w.events, deviceauth.EventRevoked)
				}
			}, withCLI(func(c *deviceauth.Client) { c.Network = policy }))
		})
	}
}

// protocol 48
func TestPageThatIsPostedTwiceDecidesOnce(t *testing.T) {
	in(t, func(w *world) {
		r, err := w.CheckCodeRequest(w.Context(), codeRequest(), here)
		if err != nil {
			t.Fatal(err)
		}
		first, _, err := w.AnswerCode(w.Context(), answerCode(r, true))
		if err != nil {
			t.Fatal(err)
		}
		// Two clicks: the browser may show either answer.
		second, _, err := w.AnswerCode(w.Context(), answerCode(r, true))
		if err != nil {
			t.Fatal(err)
		}
		if first == "" || first != second {
			t.Errorf("the codes %q and %q differ", first, second)
		}
		if _, err := w.Exchange(w.Context(), exchangeOf(first)); err != nil {
			t.Fatal(err)
		}
		for _, allow := range []bool{true, false} {
			_, _, err = w.AnswerCode(w.Context(), answerCode(r, allow))
			w.wants("decided", err)
		}
		if grants, _, _ := w.store.List(w.Context(), "", 10); len(grants) != 1 {
			t.Errorf("%d grants", len(grants))
		}
	}, withCLI(nil))
}

// A store that fails between the two writes of a yes costs the person one click more.
//
// protocol 4, 48
func TestYesThatAStoreInterruptedIsSaidAgain(t *testing.T) {
	in(t, func(w *world) {
		r, err := w.CheckCodeRequest(w.Context(), codeRequest(), here)
		if err != nil {
			t.Fatal(err)
		}
		m := w.muted()
		m.times.Store(1)
		if _, _, err := w.AnswerCode(w.Context(), answerCode(r, true)); err == nil || deviceauth.AsError(err) != nil {
			t.Fatalf("got %v, want a fault", err)
		}
		code, _, err := w.AnswerCode(w.Context(), answerCode(r, true))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Exchange(w.Context(), exchangeOf(code)); err != nil {
			t.Error(err)
		}
	}, withCLI(nil))
}

// protocol 44, 51
func TestCodeIsForPeopleOfTheRules(t *testing.T) {
	in(t, func(w *world) {
		r, err := w.CheckCodeRequest(w.Context(), codeRequest(), here)
		if err != nil {
			t.Fatal(err)
		}
		a := answerCode(r, true)
		a.Person = mallory
		_, _, err = w.AnswerCode(w.Context(), a)
		w.wants("not_permitted", err)
		if grants, _, _ := w.store.List(w.Context(), "", 10); len(grants) != 0 {
			t.Errorf("a refused yes left %d grants", len(grants))
		}
		_, g, err := w.AnswerCode(w.Context(), answerCode(r, false))
		if err != nil || g.State != deviceauth.Denied {
			t.Errorf("a no: %v, %v", g, err)
		}
	}, withCLI(nil))
}

// protocol 47
func TestAuthorizationRequestIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*deviceauth.CodeRequest)
		want   string
	}{
		"no challenge":      {func(r *deviceauth.CodeRequest) { r.Challenge = "" }, "invalid_request"},
		"plain":             {func(r *deviceauth.CodeRequest) { r.ChallengeMethod = "plain" }, "invalid_request"},
		"no method":         {func(r *deviceauth.CodeRequest) { r.ChallengeMethod = "" }, "invalid_request"},
		"a short challenge": {func(r *deviceauth.CodeRequest) { r.Challenge = "abc" }, "invalid_request"},
		"implicit": {func(r *deviceauth.CodeRequest) { r.ResponseType = "token" },
			"unsupported_response_type"},
		"hybrid": {func(r *deviceauth.CodeRequest) { r.ResponseType = "code id_token" },
			"unsupported_response_type"},
		"no response type": {func(r *deviceauth.CodeRequest) { r.ResponseType = "" }, "invalid_request"},
		"fragment":         {func(r *deviceauth.CodeRequest) { r.ResponseMode = "fragment" }, "invalid_request"},
		"form_post":        {func(r *deviceauth.CodeRequest) { r.ResponseMode = "form_post" }, "invalid_request"},
		"a scope too many": {func(r *deviceauth.CodeRequest) { r.Scope = "read write" }, "invalid_scope"},
		"another audience": {func(r *deviceauth.CodeRequest) { r.Resource = []string{"https://other.example"} },
			"invalid_target"},
		"a state too long": {func(r *deviceauth.CodeRequest) { r.State = strings.Repeat("x", 1025) },
			"invalid_request"},
		"a nonce too long": {func(r *deviceauth.CodeRequest) { r.Nonce = strings.Repeat("x", 1025) },
			"invalid_request"},
		"resources too long": {func(r *deviceauth.CodeRequest) { r.Resource = []string{strings.Repeat("x", 1025)} },
			"invalid_request"},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(w *world) {
				r := codeRequest()
				c.change(&r)
				_, err := w.CheckCodeRequest(w.Context(), r, here)
				w.wants(c.want, err)
			}, withCLI(nil))
		})
	}
}

// protocol 47, RFC 9700 §4.1, RFC 8252 §8.4
func TestRedirectIsComparedToTheLetter(t *testing.T) {
	in(t, func(w *world) {
		for _, uri := range []string{
			loopback, "http://127.0.0.1/callback", "http://127.0.0.1:1/callback", "http://127.0.0.1:65535/callback",
			"https://app.example.com/cb", "com.example.app:/cb",
		} {
			if err := w.CheckRedirect(w.Context(), "cli", uri); err != nil {
				t.Errorf("%s: %v", uri, err)
			}
		}
		for _, uri := range []string{
			"", "http://127.0.0.1:49152/callback/", "http://127.0.0.1:49152/callback?x=1",
			"http://127.0.0.1:49152/CALLBACK",
			"http://127.0.0.1:49152/callback#x", "http://localhost:49152/callback", "http://[::1]:49152/callback",
			"http://127.0.0.1:0/callback", "http://127.0.0.1:65536/callback", "http://127.0.0.1:99999/callback",
			"http://127.0.0.1:/callback",
			"http://127.0.0.1:49152@evil.example/callback", "http://user@127.0.0.1/callback",
			"http://127.0.0.1.evil.example/callback",
			"http://127.0.0.1:80.evil.example/callback", "https://127.0.0.1/callback", "HTTP://127.0.0.1/callback",
			"http://127.1/callback",
			"http://127.0.0.1/callback%2f", "http://127.0.0.1/%63allback", "http://127.0.0.1/./callback",
			"http://127.0.0.1\\callback",
			"https://app.example.com/cb/", "https://app.example.com/cb?", "https://app.example.com:443/cb",
			"https://APP.example.com/cb",
			"https://app.example.com.evil.example/cb", "https://app.example.com@evil.example/cb",
			"https://app.example.com/cb/../evil",
			"http://app.example.com/cb", "https://app.example.com/cb#", "com.example.app:/cb/", "com.example.app://cb",
			"COM.example.app:/cb",
			" https://app.example.com/cb", "https://app.example.com/cb ", "https://app.example.com/cb\n",
		} {
			w.wants("unknown_redirect", w.CheckRedirect(w.Context(), "cli", uri))
		}
		w.wants("unknown_client", w.CheckRedirect(w.Context(), "nobody", loopback))
		w.wants("unknown_redirect", w.CheckRedirect(w.Context(), "tv", loopback))
	}, withCLI(nil))
}

func TestRedirectOfAClientIsRefused(t *testing.T) {
	for _, uri := range []string{
		"", "/callback", "http://app.example.com/cb", "http://localhost.evil.example/cb", "https:///cb",
		"https://app.example.com/cb#x",
		"https://user@app.example.com/cb", "javascript:alert(1)", "javascript://app.example.com/%0aalert(1)",
		"data:text/html,x",
		"file:///etc/passwd", "myapp:/cb", "http://127.0.0.1:70000/cb", "https://app.example.com/c b",
		"https://app.example.com/ü",
		"https://app.example.com/" + strings.Repeat("x", 512),
	} {
		c := deviceauth.Config{Issuer: "https://localhost",
			Clients: []deviceauth.Client{{ID: "cli", Public: true, Redirects: []string{uri}}}}
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), "redirect") {
			t.Errorf("%s: got %v, want an error about the redirect", uri, err)
		}
	}
	for _, uri := range []string{"https://app.example.com/cb?x=1", "http://localhost/cb", "http://[::1]:80/cb",
		"com.example.app:/cb", "cursor://auth/cb"} {
		c := deviceauth.Config{Issuer: "https://localhost",
			Clients: []deviceauth.Client{{ID: "cli", Public: true, Redirects: []string{uri}}}}
		if err := c.Check(); err != nil {
			t.Errorf("%s: %v", uri, err)
		}
	}
}

// protocol 51
func TestLoginInTheBrowserLivesAsADevice(t *testing.T) {
	in(t, func(w *world) {
		tokens, err := w.Exchange(w.Context(), exchangeOf(w.code(codeRequest())))
		if err != nil {
			t.Fatal(err)
		}
		devices, err := w.store.ByOwner(w.Context(), alice.Subject)
		if err != nil || len(devices) != 1 || devices[0].CodeTail() != "" {
			t.Fatalf("grants of alice: %v, %v", devices, err)
		}
		cli := deviceauth.Credentials{ClientID: "cli"}
		next, err := w.Refresh(w.Context(),
			deviceauth.RefreshRequest{Client: cli, RefreshToken: tokens.RefreshToken.Reveal()})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Revoke(w.Context(),
			deviceauth.RevokeRequest{Client: cli, Token: next.RefreshToken.Reveal()}); err != nil {
			t.Fatal(err)
		}
		if w.admit(next.AccessToken) == nil {
			t.Error("a revoked program is let in")
		}
	}, withCLI(nil))
}

// protocol 4, 49
func TestStoreThatFailsAtTheExchangeConsumesNothing(t *testing.T) {
	in(t, func(w *world) {
		code := w.code(codeRequest())
		m := w.muted()
		m.times.Store(1)
		if _, err := w.Exchange(w.Context(), exchangeOf(code)); err == nil || deviceauth.AsError(err) != nil {
			t.Fatalf("got %v, want a fault", err)
		}
		tokens, err := w.Exchange(w.Context(), exchangeOf(code))
		if err != nil {
			t.Fatalf("the same request later: %v", err)
		}
		if err := w.admit(tokens.AccessToken); err != nil {
			t.Error(err)
		}
		if _, err := w.Exchange(w.Context(), exchangeOf(code)); !errors.As(err, new(*deviceauth.Error)) {
			t.Errorf("a second use: %v", err)
		}
	}, withCLI(nil))
}
