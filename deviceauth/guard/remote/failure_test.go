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

// forged is a token that differs from a valid one only by its signature.
func (f *testServer) forged(token string) string {
	return f.sign(f.unpublishedKeys(), deviceauth.TypeAccess, f.claims(token, same))
}

func TestForgedTokensDelayNoOthers(t *testing.T) {
	inBubble(t, func(f *testServer) {
		token := f.connect().AccessToken.Reveal()
		f.wantVerdict("", token, deviceauth.Requirement{})
		time.Sleep(time.Minute)
		f.delay(jwks, 4*time.Second)
		forged := f.forged(token)
		go f.ValidateToken(f.Context(), forged, deviceauth.Requirement{})
		synctest.Wait()
		f.wantDuration(0, func() { f.wantVerdict("", token, deviceauth.Requirement{}) })
		f.wantDuration(0, func() { f.wantVerdict("", f.connect().AccessToken.Reveal(), deviceauth.Requirement{}) })
		f.wantDuration(time.Second, func() {
			hasty, cancel := context.WithTimeout(f.Context(), time.Second)
			defer cancel()
			_, err := f.ValidateToken(hasty, forged, deviceauth.Requirement{})
			if !errors.Is(err, context.DeadlineExceeded) {
				f.Errorf("got %v", err)
			}
		})
		f.wantDuration(3*time.Second, func() { f.wantVerdict("invalid_token", forged, deviceauth.Requirement{}) })
	})
}

// The pause begins at the end of a fetch: so most of the time nothing is
// requested of a slow endpoint, either.
func TestForgedTokensRarelyCauseAKeyFetch(t *testing.T) {
	inBubble(t, func(f *testServer) {
		token := f.connect().AccessToken.Reveal()
		f.wantVerdict("", token, deviceauth.Requirement{})
		f.wantRequests(jwks, 1)
		time.Sleep(time.Minute)
		f.delay(jwks, 4*time.Second)
		forged := f.forged(token)
		f.wantDuration(4*time.Second, func() { f.wantVerdict("invalid_token", forged, deviceauth.Requirement{}) })
		time.Sleep(5*time.Second - 1)
		for range 50 {
			f.wantDuration(0, func() { f.wantVerdict("invalid_token", f.forged(token), deviceauth.Requirement{}) })
		}
		f.wantRequests(jwks, 1)
		time.Sleep(time.Nanosecond)
		f.wantDuration(4*time.Second, func() { f.wantVerdict("invalid_token", forged, deviceauth.Requirement{}) })
		f.wantRequests(jwks, 1)
	})
}

func TestImplausibleTokensCauseNoKeyFetch(t *testing.T) {
	inBubble(t, func(f *testServer) {
		access := f.connect().AccessToken.Reveal()
		f.wantVerdict("", access, deviceauth.Requirement{})
		f.wantRequests(jwks, 1)
		time.Sleep(time.Minute)
		strange := f.unpublishedKeys()
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
			"something critical": header(func(h map[string]any) {
				h["alg"], h["crit"] = "ES256", []string{"x"}
			}),
			"another type":   f.sign(strange, deviceauth.TypeID, f.claims(access, same)),
			"another issuer": forged(func(c jwt.MapClaims) { c["iss"] = "https://evil.example" }),
			"over": forged(func(c jwt.MapClaims) {
				c["exp"] = time.Now().Add(-61 * time.Second).Unix()
			}),
			"no subject": forged(func(c jwt.MapClaims) { delete(c, "sub") }),
		} {
			f.Log(name)
			f.wantVerdict("invalid_token", token, deviceauth.Requirement{})
			f.wantRequests(jwks, 0)
			time.Sleep(time.Minute)
			synctest.Wait()
		}
	})
}

// An unknown key may be the server's as long as the keys cannot be fetched; so
// that is a fault and no refusal.
func TestFailedKeyFetchIsRepeatedSoon(t *testing.T) {
	for name, text := range map[string]string{
		"a failure": "", "no key": `{"keys":[]}`, "no good key": `{"keys":[{"kty":"oct","k":"AAAA","kid":"x"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(f *testServer) {
				token := f.connect().AccessToken.Reveal()
				f.respondWith(jwks, text)
				for range 20 {
					f.wantVerdict("fault", token, deviceauth.Requirement{})
				}
				f.wantRequests(jwks, 1)
				f.restore()
				time.Sleep(time.Second)
				f.wantVerdict("", token, deviceauth.Requirement{})
			})
		})
	}
}

func TestKnownKeysSurviveFailedFetches(t *testing.T) {
	inBubble(t, func(f *testServer) {
		token := f.connect().AccessToken.Reveal()
		f.wantVerdict("", token, deviceauth.Requirement{})
		for _, text := range []string{"", `{"keys":[]}`} {
			f.respondWith(jwks, text)
			time.Sleep(5 * time.Minute)
			f.wantVerdict("", f.connect().AccessToken.Reveal(), deviceauth.Requirement{}) // causes a fetch
			synctest.Wait()
			f.wantVerdict("", f.connect().AccessToken.Reveal(), deviceauth.Requirement{})
			f.wantVerdict("fault", f.forged(token), deviceauth.Requirement{})
		}
	})
}

// protocol 30
func TestWithdrawnKeyIsRefused(t *testing.T) {
	inBubble(t, func(f *testServer) {
		token := f.connect().AccessToken.Reveal()
		f.wantVerdict("", token, deviceauth.Requirement{})
		f.respondWith(jwks, string(f.unpublishedKeys().JWKS()))
		time.Sleep(5 * time.Minute)
		f.wantVerdict("", f.connect().AccessToken.Reveal(), deviceauth.Requirement{}) // causes a fetch
		synctest.Wait()
		f.wantVerdict("invalid_token", f.connect().AccessToken.Reveal(), deviceauth.Requirement{})
	})
}

func TestServerThatIsDownIsAFaultAndHeals(t *testing.T) {
	inBubble(t, func(f *testServer) {
		f.down.Store(true)
		token := f.connect().AccessToken.Reveal()
		for range 20 {
			f.wantVerdict("fault", token, deviceauth.Requirement{})
		}
		f.wantRequests(wellKnown, 1)
		f.down.Store(false)
		time.Sleep(time.Second)
		f.wantVerdict("", token, deviceauth.Requirement{})
		f.down.Store(true)
		time.Sleep(cache)
		f.wantVerdict("fault", token, deviceauth.Requirement{}) // and not "invalid": the device keeps its token
		f.down.Store(false)
		time.Sleep(time.Second)
		f.wantVerdict("", token, deviceauth.Requirement{})
	})
}

// A failure for one token concerns no other token: neither the response about it
// nor the server's metadata are forgotten.
func TestFailureConcernsItsTokenAlone(t *testing.T) {
	inBubble(t, func(f *testServer) {
		recent, stale := f.connect().AccessToken.Reveal(), f.connect().AccessToken.Reveal()
		another := f.connect().AccessToken.Reveal()
		f.wantVerdict("", stale, deviceauth.Requirement{})
		time.Sleep(cache)
		f.wantVerdict("", recent, deviceauth.Requirement{})
		f.down.Store(true)
		f.wantVerdict("fault", stale, deviceauth.Requirement{})
		synctest.Wait()
		f.wantDuration(0, func() { f.wantVerdict("", recent, deviceauth.Requirement{}) })
		f.down.Store(false)
		f.delay(wellKnown, time.Hour)
		f.wantDuration(0, func() { f.wantVerdict("", another, deviceauth.Requirement{}) })
		time.Sleep(time.Second)
		f.wantDuration(0, func() { f.wantVerdict("", stale, deviceauth.Requirement{}) })
	})
}

// A server that hangs is sent one request for each token at a time, with a pause
// after it, and a request that waited for it does not wait again.
func TestServerThatHangsIsAskedSeldom(t *testing.T) {
	inBubble(t, func(f *testServer) {
		token := f.connect().AccessToken.Reveal()
		f.wantVerdict("", token, deviceauth.Requirement{})
		f.wantRequests(introspect, 1)
		f.wantRequests(wellKnown, 1)
		time.Sleep(cache)
		f.delay(introspect, time.Hour)
		f.delay(wellKnown, time.Hour)
		f.wantDuration(5*time.Second, func() {
			done := make(chan struct{})
			for range 64 {
				go func() {
					f.wantVerdict("fault", token, deviceauth.Requirement{})
					done <- struct{}{}
				}()
			}
			for range 64 {
				<-done
			}
		})
		f.wantDuration(0, func() { f.wantVerdict("fault", token, deviceauth.Requirement{}) })
		synctest.Wait()
		f.wantRequests(introspect, 1)
		f.wantRequests(wellKnown, 1)
		f.restore()
		time.Sleep(time.Second)
		f.wantDuration(0, func() { f.wantVerdict("", token, deviceauth.Requirement{}) })
	})
}

// The endpoint may have moved; the metadata say where to.
func TestMetadataAreReadAgainWhenTheyMayBeWrong(t *testing.T) {
	inBubble(t, func(f *testServer) {
		f.respondWith(wellKnown, fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q,"introspection_endpoint":%q}`,
			issuer, issuer+jwks, issuer+"/gone"))
		token := f.connect().AccessToken.Reveal()
		f.wantVerdict("fault", token, deviceauth.Requirement{})
		f.restore()
		time.Sleep(time.Second)
		f.wantVerdict("fault", token, deviceauth.Requirement{}) // this failure causes the fetch
		time.Sleep(time.Second)
		f.wantVerdict("", token, deviceauth.Requirement{})
	})
}

func TestAnswerWithoutAVerdictIsAFault(t *testing.T) {
	for _, text := range []string{"{}", "null", `{"active":null}`, `{"sub":"x"}`, "[]", ""} {
		inBubble(t, func(f *testServer) {
			token := f.connect().AccessToken.Reveal()
			f.respondWith(introspect, text)
			f.wantVerdict("fault", token, deviceauth.Requirement{})
		})
	}
}

// A server that is reloaded closes its idle connections, and the guard may be
// using one at that moment. That is no failure of the server.
func TestConnectionThatWasClosedIsNoFault(t *testing.T) {
	asked := atomic.Int32{}
	server := httptest.NewServer(nil)
	defer server.Close()
	f := newTestServerAt(t, server.URL)
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == introspect && asked.Add(1) == 1 {
			panic(http.ErrAbortHandler) // on a connection that has been used
		}
		f.handler.ServeHTTP(w, r)
	})
	view, err := remote.New(remote.Config{Issuer: server.URL, ClientID: "edge", ClientSecret: "s3:cret&"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = view.ValidateToken(t.Context(), f.connect().AccessToken.Reveal(), deviceauth.Requirement{})
	if err != nil {
		t.Error(err)
	}
	if n := asked.Load(); n != 2 {
		t.Errorf("was asked %d times", n)
	}
}
