package remote_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard/remote"
)

// forged is a token that only its signature tells from a good one.
func (f *far) forged(token string) string {
	return f.sign(f.stranger(), deviceauth.TypeAccess, f.claims(token, same))
}

func TestForgedTokensHoldUpNobodyElse(t *testing.T) {
	in(t, func(f *far) {
		token := f.connect().AccessToken.Reveal()
		f.admits("", token, deviceauth.Requirement{})
		time.Sleep(time.Minute)
		f.takes(jwks, 4*time.Second)
		forged := f.forged(token)
		go f.ValidateToken(f.Context(), forged, deviceauth.Requirement{})
		synctest.Wait()
		f.took(0, func() { f.admits("", token, deviceauth.Requirement{}) })
		f.took(0, func() { f.admits("", f.connect().AccessToken.Reveal(), deviceauth.Requirement{}) })
		f.took(time.Second, func() {
			hasty, cancel := context.WithTimeout(f.Context(), time.Second)
			defer cancel()
			if _, err := f.ValidateToken(hasty, forged, deviceauth.Requirement{}); !errors.Is(err, context.DeadlineExceeded) {
				f.Errorf("got %v", err)
			}
		})
		f.took(3*time.Second, func() { f.admits("invalid_token", forged, deviceauth.Requirement{}) })
	})
}

// The pause begins when a look ends: of a slow endpoint, too, most of the time
// nothing is wanted.
func TestForgedTokensMakeUsLookForKeysSeldom(t *testing.T) {
	in(t, func(f *far) {
		token := f.connect().AccessToken.Reveal()
		f.admits("", token, deviceauth.Requirement{})
		f.wasAsked(jwks, 1)
		time.Sleep(time.Minute)
		f.takes(jwks, 4*time.Second)
		forged := f.forged(token)
		f.took(4*time.Second, func() { f.admits("invalid_token", forged, deviceauth.Requirement{}) })
		time.Sleep(5*time.Second - 1)
		for range 50 {
			f.took(0, func() { f.admits("invalid_token", f.forged(token), deviceauth.Requirement{}) })
		}
		f.wasAsked(jwks, 1)
		time.Sleep(time.Nanosecond)
		f.took(4*time.Second, func() { f.admits("invalid_token", forged, deviceauth.Requirement{}) })
		f.wasAsked(jwks, 1)
	})
}

func TestTokensThatCannotBeGoodMakeUsLookForNoKey(t *testing.T) {
	in(t, func(f *far) {
		access := f.connect().AccessToken.Reveal()
		f.admits("", access, deviceauth.Requirement{})
		f.wasAsked(jwks, 1)
		time.Sleep(time.Minute)
		strange := f.stranger()
		header := func(change func(map[string]any)) string {
			t := jwt.NewWithClaims(jwt.SigningMethodHS256, f.claims(access, same))
			t.Header = map[string]any{"alg": "HS256", "kid": "new", "typ": deviceauth.TypeAccess}
			change(t.Header)
			text, err := t.SignedString([]byte("x"))
			if err != nil {
				f.Fatal(err)
			}
			return text
		}
		forged := func(change func(jwt.MapClaims)) string {
			return f.sign(strange, deviceauth.TypeAccess, f.claims(access, change))
		}
		for name, token := range map[string]string{
			"an algorithm that takes a secret": header(func(map[string]any) {}),
			"no algorithm":                     header(func(h map[string]any) { h["alg"] = "none" }),
			"no key":                           header(func(h map[string]any) { h["alg"] = "ES256"; delete(h, "kid") }),
			"a key that is no text":            header(func(h map[string]any) { h["alg"] = "ES256"; h["kid"] = 7 }),
			"something critical":               header(func(h map[string]any) { h["alg"] = "ES256"; h["crit"] = []string{"x"} }),
			"another type":                     f.sign(strange, deviceauth.TypeID, f.claims(access, same)),
			"another issuer":                   forged(func(c jwt.MapClaims) { c["iss"] = "https://evil.example" }),
			"over":                             forged(func(c jwt.MapClaims) { c["exp"] = time.Now().Add(-61 * time.Second).Unix() }),
			"no subject":                       forged(func(c jwt.MapClaims) { delete(c, "sub") }),
		} {
			f.Log(name)
			f.admits("invalid_token", token, deviceauth.Requirement{})
			f.wasAsked(jwks, 0)
			time.Sleep(time.Minute)
			synctest.Wait()
		}
	})
}

// A key that is not among those known may be the server's, as long as nobody
// could look; so that is no verdict.
func TestKeysThatCouldNotBeFetchedAreLookedForAgainSoon(t *testing.T) {
	for name, text := range map[string]string{"a failure": "", "no key": `{"keys":[]}`, "no good key": `{"keys":[{"kty":"oct","k":"AAAA","kid":"x"}]}`} {
		t.Run(name, func(t *testing.T) {
			in(t, func(f *far) {
				token := f.connect().AccessToken.Reveal()
				f.answers(jwks, text)
				for range 20 {
					f.admits("fault", token, deviceauth.Requirement{})
				}
				f.wasAsked(jwks, 1)
				f.heals()
				time.Sleep(time.Second)
				f.admits("", token, deviceauth.Requirement{})
			})
		})
	}
}

func TestKeysThatWorkAreKeptUntilThereAreOthers(t *testing.T) {
	in(t, func(f *far) {
		token := f.connect().AccessToken.Reveal()
		f.admits("", token, deviceauth.Requirement{})
		for _, text := range []string{"", `{"keys":[]}`} {
			f.answers(jwks, text)
			time.Sleep(5 * time.Minute)
			f.admits("", f.connect().AccessToken.Reveal(), deviceauth.Requirement{}) // a look, by the way
			synctest.Wait()
			f.admits("", f.connect().AccessToken.Reveal(), deviceauth.Requirement{})
			f.admits("fault", f.forged(token), deviceauth.Requirement{})
		}
	})
}

// protocol 30
func TestKeyThatWasWithdrawnStopsToCount(t *testing.T) {
	in(t, func(f *far) {
		token := f.connect().AccessToken.Reveal()
		f.admits("", token, deviceauth.Requirement{})
		f.answers(jwks, string(f.stranger().JWKS()))
		time.Sleep(5 * time.Minute)
		f.admits("", f.connect().AccessToken.Reveal(), deviceauth.Requirement{}) // a look, by the way
		synctest.Wait()
		f.admits("invalid_token", f.connect().AccessToken.Reveal(), deviceauth.Requirement{})
	})
}

func TestServerThatIsDownIsAFaultAndHeals(t *testing.T) {
	in(t, func(f *far) {
		f.down.Store(true)
		token := f.connect().AccessToken.Reveal()
		for range 20 {
			f.admits("fault", token, deviceauth.Requirement{})
		}
		f.wasAsked(wellKnown, 1)
		f.down.Store(false)
		time.Sleep(time.Second)
		f.admits("", token, deviceauth.Requirement{})
		f.down.Store(true)
		time.Sleep(cache)
		f.admits("fault", token, deviceauth.Requirement{}) // and not "invalid": the device keeps its token
		f.down.Store(false)
		time.Sleep(time.Second)
		f.admits("", token, deviceauth.Requirement{})
	})
}

// One token's misfortune is not another's: neither is what was said of it
// forgotten, nor what the server said of itself.
func TestFailedQuestionConcernsItsTokenAlone(t *testing.T) {
	in(t, func(f *far) {
		fresh, stale, another := f.connect().AccessToken.Reveal(), f.connect().AccessToken.Reveal(), f.connect().AccessToken.Reveal()
		f.admits("", stale, deviceauth.Requirement{})
		time.Sleep(cache)
		f.admits("", fresh, deviceauth.Requirement{})
		f.down.Store(true)
		f.admits("fault", stale, deviceauth.Requirement{})
		synctest.Wait()
		f.took(0, func() { f.admits("", fresh, deviceauth.Requirement{}) })
		f.down.Store(false)
		f.takes(wellKnown, time.Hour)
		f.took(0, func() { f.admits("", another, deviceauth.Requirement{}) })
		time.Sleep(time.Second)
		f.took(0, func() { f.admits("", stale, deviceauth.Requirement{}) })
	})
}

// What is asked of a server that hangs is one question for each token at a
// time, with a pause after it, and whoever waited for it does not wait again.
func TestServerThatHangsIsAskedSeldom(t *testing.T) {
	in(t, func(f *far) {
		token := f.connect().AccessToken.Reveal()
		f.admits("", token, deviceauth.Requirement{})
		f.wasAsked(introspect, 1)
		f.wasAsked(wellKnown, 1)
		time.Sleep(cache)
		f.takes(introspect, time.Hour)
		f.takes(wellKnown, time.Hour)
		f.took(5*time.Second, func() {
			done := make(chan struct{})
			for range 64 {
				go func() {
					f.admits("fault", token, deviceauth.Requirement{})
					done <- struct{}{}
				}()
			}
			for range 64 {
				<-done
			}
		})
		f.took(0, func() { f.admits("fault", token, deviceauth.Requirement{}) })
		synctest.Wait()
		f.wasAsked(introspect, 1)
		f.wasAsked(wellKnown, 1)
		f.heals()
		time.Sleep(time.Second)
		f.took(0, func() { f.admits("", token, deviceauth.Requirement{}) })
	})
}

// The endpoint may have moved; the description says where to.
func TestMetadataAreReadAgainWhenTheyMayBeWrong(t *testing.T) {
	in(t, func(f *far) {
		f.answers(wellKnown, fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q,"introspection_endpoint":%q}`, issuer, issuer+jwks, issuer+"/gone"))
		token := f.connect().AccessToken.Reveal()
		f.admits("fault", token, deviceauth.Requirement{})
		f.heals()
		time.Sleep(time.Second)
		f.admits("fault", token, deviceauth.Requirement{}) // it is now that they are doubted
		time.Sleep(time.Second)
		f.admits("", token, deviceauth.Requirement{})
	})
}

func TestAnswerWithoutAVerdictIsAFault(t *testing.T) {
	for _, text := range []string{"{}", "null", `{"active":null}`, `{"sub":"x"}`, "[]", ""} {
		in(t, func(f *far) {
			token := f.connect().AccessToken.Reveal()
			f.answers(introspect, text)
			f.admits("fault", token, deviceauth.Requirement{})
		})
	}
}

// A server that is reloaded closes connections that are idle at that moment,
// and we may just be using one again. That is no failure of the server's.
func TestConnectionThatWasClosedIsNoFault(t *testing.T) {
	asked := atomic.Int32{}
	server := httptest.NewServer(nil)
	defer server.Close()
	f := newFarAt(t, server.URL)
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == introspect && asked.Add(1) == 1 {
			panic(http.ErrAbortHandler) // on a connection that has been used
		}
		f.handler.ServeHTTP(w, r)
	})
	far, err := remote.New(remote.Config{Issuer: server.URL, ClientID: "edge", ClientSecret: "s3:cret&"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := far.ValidateToken(t.Context(), f.connect().AccessToken.Reveal(), deviceauth.Requirement{}); err != nil {
		t.Error(err)
	}
	if n := asked.Load(); n != 2 {
		t.Errorf("was asked %d times", n)
	}
}
