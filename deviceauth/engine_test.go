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
	"testing/synctest"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/keyring"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/memstore"
)

// A world is an engine with its environment, in a synctest bubble.
type world struct {
	*testing.T
	*deviceauth.Engine
	store  *memstore.Store
	config deviceauth.Config
	events []string
	mu     sync.Mutex
}

var (
	tv      = deviceauth.Credentials{ClientID: "tv"}
	meter   = deviceauth.Credentials{ClientID: "meter", Secret: "s3cret", Method: deviceauth.AuthBasic}
	here    = netip.MustParseAddr("192.0.2.7")
	away    = netip.MustParseAddr("198.51.100.9")
	alice   = person("alice", "alice@example.com", true)
	mallory = person("mallory", "mallory@evil.example", true)
)

func person(name, email string, verified bool) *deviceauth.Person {
	return &deviceauth.Person{
		Subject: "work|" + name, Upstream: "work", User: name,
		Claims: deviceauth.Claims{"name": name, "email": email, "email_verified": verified, "groups": []any{"staff"}},
	}
}

func config() deviceauth.Config {
	return deviceauth.Config{
		Issuer: "https://api.example.com",
		Clients: []deviceauth.Client{
			{ID: "tv", Name: "TV", Public: true, Scope: "openid email offline_access read write"},
			{ID: "meter", Secret: "s3cret", Scope: "offline_access",
				From: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}},
		},
		Allow:    map[string][]deviceauth.Allow{"work": {{Claim: "email", Patterns: []string{"*@example.com"}}}},
		Audience: []string{"https://api.example.com", "https://api.example.com/v2"},
	}
}

// in runs a test in a new world.
func in(t *testing.T, test func(*world), changes ...func(*deviceauth.Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, store: memstore.New()}
		keys, err := keyring.Open(t.Context(), w.store, "")
		if err != nil {
			t.Fatal(err)
		}
		c := config()
		c.Store, c.Documents, c.Signer, c.RefreshKey = w.store, w.store, keys, keys.Source(keyring.PurposeRefresh)
		c.Events = func(e deviceauth.Event) { w.mu.Lock(); defer w.mu.Unlock(); w.events = append(w.events, e.Name) }
		c.Polls = func(answer string) { // metrics have them all from the start
			if !slices.Contains(deviceauth.PollAnswers(), answer) {
				t.Errorf("a poll is answered %s, which PollAnswers lacks", answer)
			}
		}
		for _, change := range changes {
			change(&c)
		}
		w.config = c
		if w.Engine, err = deviceauth.New(c); err != nil {
			t.Fatal(err)
		}
		test(w)
	})
}

// anew does what a reload of the configuration does: a new engine on the same store.
func (w *world) anew(change func(*deviceauth.Config)) {
	w.Helper()
	c := w.config
	c.Clients = slices.Clone(c.Clients)
	change(&c)
	engine, err := deviceauth.New(c)
	if err != nil {
		w.Fatal(err)
	}
	w.Engine = engine
}

// without takes a client out of the configuration.
func (w *world) without(id string) {
	w.Helper()
	w.anew(func(c *deviceauth.Config) {
		c.Clients = slices.DeleteFunc(c.Clients, func(c deviceauth.Client) bool { return c.ID == id })
	})
}

func waitOff(c *deviceauth.Config) { c.Wait = -1 }

func (w *world) authorize() *deviceauth.Authorization {
	w.Helper()
	a, err := w.Authorize(w.Context(), deviceauth.AuthorizeRequest{Client: tv, From: here})
	if err != nil {
		w.Fatal(err)
	}
	return a
}

func (w *world) poll(a *deviceauth.Authorization) (*deviceauth.Tokens, error) {
	return w.Redeem(w.Context(), deviceauth.RedeemRequest{Client: tv, DeviceCode: a.DeviceCode.Reveal()})
}

func (w *world) inspect(p *deviceauth.Person, code string) (*deviceauth.Grant, error) {
	return w.Inspect(w.Context(), deviceauth.InspectRequest{Person: p, From: here, Code: code})
}

func (w *world) answer(a *deviceauth.Authorization, allow bool) {
	w.Helper()
	g, err := w.inspect(alice, a.UserCode)
	if err != nil {
		w.Fatal(err)
	}
	if _, err := w.Answer(w.Context(),
		deviceauth.AnswerRequest{Grant: g.ID, Allow: allow, Person: alice, From: here}); err != nil {
		w.Fatal(err)
	}
}

// tokens goes all the way.
func (w *world) tokens() *deviceauth.Tokens {
	w.Helper()
	a := w.authorize()
	w.answer(a, true)
	t, err := w.poll(a)
	if err != nil {
		w.Fatal(err)
	}
	return t
}

func (w *world) refresh(token deviceauth.Secret, scope string) (*deviceauth.Tokens, error) {
	return w.Refresh(w.Context(), deviceauth.RefreshRequest{Client: tv, RefreshToken: token.Reveal(), Scope: scope})
}

func (w *world) admit(token deviceauth.Secret) error {
	_, err := w.ValidateToken(w.Context(), token.Reveal(), deviceauth.Requirement{})
	return err
}

// wants fails the test unless the error is the refusal, or none for "".
func (w *world) wants(code string, err error) {
	w.Helper()
	refusal := deviceauth.AsError(err)
	if code == "" && err != nil || code != "" && (refusal == nil || refusal.Code != code) {
		w.Errorf("got %v, want %q", err, code)
	}
}

// protocol 8, 10
func TestAuthorizationHasFreshCodes(t *testing.T) {
	in(t, func(w *world) {
		seen := map[string]bool{}
		for range 200 {
			a := w.authorize()
			if len(a.UserCode) != 9 || a.UserCode[4] != '-' || strings.Trim(a.UserCode, deviceauth.Base20+"-") != "" {
				w.Fatalf("user code %q, want ****-**** of base20", a.UserCode)
			}
			if seen[a.UserCode] || seen[a.DeviceCode.Reveal()] {
				w.Fatal("a code was given twice")
			}
			seen[a.UserCode], seen[a.DeviceCode.Reveal()] = true, true
			if a.ExpiresIn != 10*time.Minute || a.Interval != time.Second {
				w.Fatalf("expires in %v, interval %v", a.ExpiresIn, a.Interval)
			}
		}
	})
}

// protocol 5, 6, 9, 12
func TestAuthorizationIsRefused(t *testing.T) {
	tests := []struct {
		name string
		want string
		req  deviceauth.AuthorizeRequest
	}{
		{"as asked", "", deviceauth.AuthorizeRequest{Client: tv, Scope: "read openid",
			Audience: []string{"https://api.example.com/v2"}}},
		{"without a client", "invalid_client", deviceauth.AuthorizeRequest{}},
		{"by an unknown client", "invalid_client",
			deviceauth.AuthorizeRequest{Client: deviceauth.Credentials{ClientID: "radio"}}},
		{"by an unknown client with a secret", "invalid_client",
			deviceauth.AuthorizeRequest{Client: deviceauth.Credentials{ClientID: "radio",
				Secret: "no client has this secret"}}},
		{"by a public client with a secret", "invalid_client",
			deviceauth.AuthorizeRequest{Client: deviceauth.Credentials{ClientID: "tv", Secret: "x",
				Method: deviceauth.AuthPost}}},
		{"by a public client with Basic and no secret", "",
			deviceauth.AuthorizeRequest{Client: deviceauth.Credentials{ClientID: "tv", Method: deviceauth.AuthBasic}}},
		{"by a confidential client without its secret", "invalid_client",
			deviceauth.AuthorizeRequest{Client: deviceauth.Credentials{ClientID: "meter"}, From: here}},
		{"by a confidential client with a wrong secret", "invalid_client",
			deviceauth.AuthorizeRequest{Client: deviceauth.Credentials{ClientID: "meter", Secret: "guess"},
				From: here}},
		{"by a confidential client", "", deviceauth.AuthorizeRequest{Client: meter, From: here}},
		{"from another network", "access_denied", deviceauth.AuthorizeRequest{Client: meter, From: away}},
		{"from an unknown address", "access_denied", deviceauth.AuthorizeRequest{Client: meter}},
		{"for a scope it may not have", "invalid_scope", deviceauth.AuthorizeRequest{Client: tv, Scope: "read admin"}},
		{"for a scope with a quote", "invalid_scope", deviceauth.AuthorizeRequest{Client: tv, Scope: `re"ad`}},
		{"for an unknown audience", "invalid_target",
			deviceauth.AuthorizeRequest{Client: tv, Audience: []string{"https://evil.example"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			in(t, func(w *world) {
				_, err := w.Authorize(w.Context(), test.req)
				w.wants(test.want, err)
			})
		})
	}
}

// protocol 11
func TestPendingGrantsAreBounded(t *testing.T) {
	tests := []struct {
		name    string
		pending deviceauth.PendingLimits
		other   deviceauth.AuthorizeRequest // not bounded together with the first
		bound   string                      // the error for the other request
	}{
		{"per address", deviceauth.PendingLimits{PerAddress: 3},
			deviceauth.AuthorizeRequest{Client: tv, From: away}, ""},
		{"per client", deviceauth.PendingLimits{PerClient: 3},
			deviceauth.AuthorizeRequest{Client: meter, From: here}, ""},
		{"in total", deviceauth.PendingLimits{Total: 3},
			deviceauth.AuthorizeRequest{Client: meter, From: here}, "slow_down"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			in(t, func(w *world) {
				first := w.authorize()
				w.authorize()
				w.authorize()
				_, err := w.Authorize(w.Context(), deviceauth.AuthorizeRequest{Client: tv, From: here})
				w.wants("slow_down", err)
				var throttled *deviceauth.RateLimitError
				if !errors.As(err, &throttled) || throttled.RetryAfter <= 0 ||
					throttled.RetryAfter > 10*time.Minute+time.Second {
					w.Errorf("got %#v, want the time to wait", err)
				}
				_, err = w.Authorize(w.Context(), test.other)
				w.wants(test.bound, err)
				w.answer(first, true) // pending grants stay, and a decision makes room
				w.authorize()
				_, err = w.Authorize(w.Context(), deviceauth.AuthorizeRequest{Client: tv, From: here})
				w.wants("slow_down", err)
				time.Sleep(10*time.Minute + 2*time.Second)
				w.authorize()
			}, func(c *deviceauth.Config) { c.Pending = test.pending })
		})
	}
}

// A client that owns a network owns all its addresses. It gets a multiple of one
// address's limit and no more, however it writes its address.
//
// protocol 11
func TestPendingGrantsAreBoundedPerNetwork(t *testing.T) {
	tests := map[string]struct {
		address  string // with the number of an address, or of a network, in it
		most     int
		stranger string // outside of the network
	}{
		"IPv4 /24":         {"192.0.2.%d", 8, "192.0.3.1"},
		"IPv4, mapped":     {"::ffff:192.0.2.%d", 8, "192.0.3.1"},
		"IPv4, by NAT64":   {"64:ff9b::c000:2%02x", 8, "64:ff9b::c000:301"},
		"IPv4, by 6to4":    {"2002:c000:2%02x::1", 8, "2002:c000:301::1"},
		"IPv6 /64":         {"2001:db8:1:1::%x", 2, "2001:db8:1:2::1"},
		"IPv6 /56":         {"2001:db8:1:1%02x::1", 8, "2001:db8:1:200::1"},
		"IPv6 /48":         {"2001:db8:1:%02x00::1", 32, "2001:db8:2::1"},
		"IPv6, with zones": {"2001:db8:1:1::1%%eth%d", 2, "2001:db8:1:2::1"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			in(t, func(w *world) {
				ask := func(from string) error {
					_, err := w.Authorize(w.Context(),
						deviceauth.AuthorizeRequest{Client: tv, From: netip.MustParseAddr(from)})
					return err
				}
				for i := range test.most {
					w.wants("", ask(fmt.Sprintf(test.address, i+1)))
				}
				w.wants("slow_down", ask(fmt.Sprintf(test.address, test.most+1)))
				w.wants("", ask(test.stranger))
			}, func(c *deviceauth.Config) { c.Pending.PerAddress = 2 })
		})
	}
}

// One IPv4 address has one count, whatever it is spelled as.
//
// protocol 11
func TestSpellingsOfAnAddressShareItsBound(t *testing.T) {
	in(t, func(w *world) {
		for i, from := range []string{"192.0.2.7", "::ffff:192.0.2.7", "64:ff9b::192.0.2.7", "2002:c000:207:1::1"} {
			_, err := w.Authorize(w.Context(), deviceauth.AuthorizeRequest{Client: tv, From: netip.MustParseAddr(from)})
			w.wants(map[bool]string{true: "slow_down"}[i > 0], err)
		}
	}, func(c *deviceauth.Config) { c.Pending.PerAddress = 1 })
}

// takenFirst is a store in which the first user codes drawn are taken.
type takenFirst struct {
	deviceauth.Store
	left int
}

func (s *takenFirst) Create(ctx context.Context, g *deviceauth.Grant) error {
	if s.left--; s.left >= 0 {
		return deviceauth.ErrExists
	}
	return s.Store.Create(ctx, g)
}

// protocol 10
func TestTakenUserCodeIsDrawnAgain(t *testing.T) {
	in(t, func(w *world) { w.authorize() },
		func(c *deviceauth.Config) { c.Store = &takenFirst{Store: c.Store, left: 9} })
}

// protocol 13, 14
func TestPollIsAnsweredInOrder(t *testing.T) {
	in(t, func(w *world) {
		a := w.authorize()
		other := w.authorize()
		_, err := w.poll(a)
		w.wants("authorization_pending", err)
		_, err = w.Redeem(w.Context(), deviceauth.RedeemRequest{Client: meter, DeviceCode: a.DeviceCode.Reveal()})
		w.wants("invalid_grant", err)
		for _, code := range []string{"", "dc_", "dc_AAAA", "rt_" + a.DeviceCode.Reveal()[3:],
			a.DeviceCode.Reveal() + "A", a.DeviceCode.Reveal()[:60] + "AAAA"} {
			_, err = w.Redeem(w.Context(), deviceauth.RedeemRequest{Client: tv, DeviceCode: code})
			w.wants("invalid_grant", err)
		}
		w.answer(a, false)
		for range 3 {
			_, err = w.poll(a)
			w.wants("access_denied", err)
		}
		time.Sleep(10 * time.Minute)
		_, err = w.poll(other)
		w.wants("expired_token", err)
		time.Sleep(9 * time.Minute)
		_, err = w.poll(a)
		w.wants("access_denied", err) // still remembered
	}, waitOff)
}

// protocol 16: a device that polls two gateways may not poll twice as fast.
func TestPaceIsSharedByGateways(t *testing.T) {
	gateways := memstore.Gateways(2)
	by := func(i int) func(*deviceauth.Config) {
		return func(c *deviceauth.Config) {
			c.PollState = deviceauth.NewPollState()
			c.PollState.Share(gateways[i])
		}
	}
	in(t, func(w *world) {
		a := w.authorize()
		_, err := w.poll(a)
		w.wants("authorization_pending", err)
		for i, want := range []time.Duration{10 * time.Second, 15 * time.Second, 20 * time.Second} {
			time.Sleep(time.Second)
			w.anew(by((i + 1) % 2))
			_, err := w.poll(a)
			var hurried *deviceauth.SlowDownError
			if !errors.As(err, &hurried) || hurried.Interval != want {
				w.Errorf("poll %d: got %v, want to slow down to %v", i, err, want)
			}
		}
	}, waitOff, by(0))
}

// The rule is the same where gateways share a store, which only records the polls.
//
// protocol 16
func TestPaceGrowsForGood(t *testing.T) {
	everywhere(t, func(w *world) {
		a := w.authorize()
		poll := func(after time.Duration, want string, interval time.Duration) {
			w.Helper()
			time.Sleep(after)
			_, err := w.poll(a)
			w.wants(want, err)
			var hurried *deviceauth.SlowDownError
			if errors.As(err, &hurried) && interval != 0 && hurried.Interval != interval {
				w.Errorf("told an interval of %v, want %v", hurried.Interval, interval)
			}
		}
		poll(0, "authorization_pending", 0) // the first is never too soon
		poll(4*time.Second, "authorization_pending", 0)
		poll(3900*time.Millisecond, "slow_down", 10*time.Second)
		poll(8*time.Second, "authorization_pending", 0)
		poll(7*time.Second, "slow_down", 15*time.Second)
		poll(15*time.Second, "authorization_pending", 0) // keeping to it always gets through
		poll(5*time.Second, "slow_down", 20*time.Second) // and does not shrink it
		for range 20 {
			poll(time.Second, "slow_down", 0)
		}
		poll(60*time.Second, "authorization_pending", 0) // the growth has an end
		w.answer(a, true)
		poll(0, "", 0) // an approved code is never throttled
	}, waitOff, func(c *deviceauth.Config) { c.Lifetime.DeviceCode = time.Hour })
}

// protocol 16
func TestWaysOfAuthenticationHaveTheirOwnPace(t *testing.T) {
	in(t, func(w *world) {
		a := w.authorize()
		for range 3 {
			for _, method := range []deviceauth.AuthMethod{deviceauth.AuthBasic, deviceauth.AuthNone} {
				_, err := w.Redeem(w.Context(),
					deviceauth.RedeemRequest{Client: deviceauth.Credentials{ClientID: "tv", Method: method},
						DeviceCode: a.DeviceCode.Reveal()})
				w.wants("authorization_pending", err)
			}
			time.Sleep(5 * time.Second)
		}
	}, waitOff)
}

// protocol 16
func TestHeldPollIsAnsweredAtTheDecision(t *testing.T) {
	in(t, func(w *world) {
		a, began := w.authorize(), time.Now()
		done := make(chan error)
		go func() { _, err := w.poll(a); done <- err }()
		time.Sleep(time.Second)
		w.answer(a, true)
		w.wants("", <-done)
		if took := time.Since(began); took != time.Second {
			w.Errorf("the device heard after %v, the person decided after 1s", took)
		}
	})
}

// protocol 16
func TestHeldPollEndsWhen(t *testing.T) {
	tests := []struct {
		name  string
		after time.Duration
		end   func(*world, context.CancelFunc)
	}{
		{"its time is over", 2500 * time.Millisecond, func(*world, context.CancelFunc) {}},
		{"the client goes away", time.Second, func(_ *world, hangUp context.CancelFunc) { hangUp() }},
		{"the engine is closed", time.Second, func(w *world, _ context.CancelFunc) { w.Close() }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			in(t, func(w *world) {
				a, began := w.authorize(), time.Now()
				ctx, hangUp := context.WithCancel(w.Context())
				defer hangUp()
				done := make(chan error)
				go func() {
					_, err := w.Redeem(ctx, deviceauth.RedeemRequest{Client: tv, DeviceCode: a.DeviceCode.Reveal()})
					done <- err
				}()
				time.Sleep(time.Second)
				test.end(w, hangUp)
				w.wants("authorization_pending", <-done)
				if took := time.Since(began); took != test.after {
					w.Errorf("held for %v, want %v", took, test.after)
				}
			})
		})
	}
}

func TestClientThatHasGoneAwayTakesNoTokens(t *testing.T) {
	in(t, func(w *world) {
		a := w.authorize()
		w.answer(a, true)
		gone, hangUp := context.WithCancel(w.Context())
		hangUp()
		_, err := w.Redeem(gone, deviceauth.RedeemRequest{Client: tv, DeviceCode: a.DeviceCode.Reveal()})
		w.wants("authorization_pending", err)
		_, err = w.poll(a)
		w.wants("", err)
	})
}

// protocol 16
func TestPollBesideAHeldOneIsEarly(t *testing.T) {
	in(t, func(w *world) {
		a := w.authorize()
		held := make(chan error)
		go func() { _, err := w.poll(a); held <- err }()
		synctest.Wait()
		_, err := w.poll(a)
		w.wants("slow_down", err)
		w.answer(a, true)
		w.wants("", <-held) // the held one went on
	})
}

// protocol 17
func TestOneCodeGivesOneTokenResponse(t *testing.T) {
	in(t, func(w *world) {
		a := w.authorize()
		w.answer(a, true)
		const polls = 64
		errs := make(chan error, polls)
		for range polls {
			go func() { _, err := w.poll(a); errs <- err }()
		}
		won := 0
		for range polls {
			if err := <-errs; err == nil {
				won++
			} else {
				w.wants("invalid_grant", err)
			}
		}
		if won != 1 {
			w.Errorf("%d polls were given tokens", won)
		}
	})
}

// protocol 17
func TestLateReplayOfACodeEndsTheGrant(t *testing.T) {
	in(t, func(w *world) {
		a := w.authorize()
		w.answer(a, true)
		tokens, err := w.poll(a)
		w.wants("", err)
		time.Sleep(30 * time.Second)
		_, err = w.poll(a)
		w.wants("invalid_grant", err)
		w.wants("", w.admit(tokens.AccessToken)) // a lost answer, not a theft
		time.Sleep(time.Second)
		_, err = w.poll(a)
		w.wants("invalid_grant", err)
		w.wants("invalid_token", w.admit(tokens.AccessToken))
		if !slices.Contains(w.events, deviceauth.EventReplayed) {
			w.Errorf("events %v lack the replay", w.events)
		}
	})
}

// protocol 18
func TestPersonBarredBeforeRedemptionGivesNoToken(t *testing.T) {
	in(t, func(w *world) {
		a := w.authorize()
		w.answer(a, true)
		w.anew(func(c *deviceauth.Config) { c.Allow["work"][0].Patterns = []string{"*@elsewhere.example"} })
		for range 2 {
			_, err := w.poll(a)
			w.wants("access_denied", err)
		}
	})
}

// protocol 23
func TestPersonBarredLaterLosesTheDeviceAtItsNextRefresh(t *testing.T) {
	in(t, func(w *world) {
		tokens := w.tokens()
		w.anew(func(c *deviceauth.Config) {
			c.Allow = map[string][]deviceauth.Allow{
				"work": {{Claim: "email", Patterns: []string{"*@elsewhere.example"}}}}
		})
		w.wants("", w.admit(tokens.AccessToken))
		for range 2 {
			_, err := w.refresh(tokens.RefreshToken, "")
			w.wants("invalid_grant", err)
		}
		w.wants("invalid_token", w.admit(tokens.AccessToken))
		if w.events[len(w.events)-1] != deviceauth.EventBarred {
			w.Errorf("events %v", w.events)
		}
	})
}

// protocol 18: a client that was removed from the configuration gets a final error,
// so that its developers do not look for a bug of their own; other clients are not
// told about it.
func TestClientWithdrawnBeforeRedemptionIsDenied(t *testing.T) {
	in(t, func(w *world) {
		approved, pending := w.authorize(), w.authorize()
		w.answer(approved, true)
		w.without("tv")
		for range 2 {
			for _, a := range []*deviceauth.Authorization{approved, pending} {
				_, err := w.poll(a)
				w.wants("access_denied", err)
			}
		}
		for client, code := range map[string]string{"tv": "dc_" + strings.Repeat("A", 64),
			"radio": approved.DeviceCode.Reveal()} {
			_, err := w.Redeem(w.Context(),
				deviceauth.RedeemRequest{Client: deviceauth.Credentials{ClientID: client}, DeviceCode: code})
			w.wants("invalid_client", err)
		}
	}, waitOff)
}

// protocol 6, 30
func TestClientWithdrawnLosesItsAccess(t *testing.T) {
	in(t, func(w *world) {
		tokens := w.tokens()
		w.without("tv")
		w.wants("invalid_token", w.admit(tokens.AccessToken))
		_, err := w.refresh(tokens.RefreshToken, "")
		w.wants("invalid_client", err)
	})
}

// protocol 13
func TestRefreshIsForClientsThatMayStay(t *testing.T) {
	in(t, func(w *world) {
		tokens := w.tokens()
		w.anew(func(c *deviceauth.Config) { c.Clients[0].Scope = "read" })
		_, err := w.refresh(tokens.RefreshToken, "")
		w.wants("unauthorized_client", err)
		w.wants("", w.admit(tokens.AccessToken)) // tokens that were issued stay valid
	})
}

// protocol 24: cutting one device off leaves the person's others alone.
func TestEveryDeviceHasALifeOfItsOwn(t *testing.T) {
	in(t, func(w *world) {
		one, other := w.tokens(), w.tokens()
		w.wants("", w.Revoke(w.Context(), deviceauth.RevokeRequest{Client: tv, Token: one.RefreshToken.Reveal()}))
		w.wants("invalid_token", w.admit(one.AccessToken))
		w.wants("", w.admit(other.AccessToken))
		_, err := w.refresh(other.RefreshToken, "")
		w.wants("", err)
	})
}

// protocol 40
func TestOfTwoPeopleTheOneWhoDecidesIsBound(t *testing.T) {
	in(t, func(w *world) {
		a, bob := w.authorize(), person("bob", "bob@example.com", true)
		g, err := w.inspect(bob, a.UserCode)
		w.wants("", err)
		w.answer(a, true)
		_, err = w.Answer(w.Context(), deviceauth.AnswerRequest{Grant: g.ID, Allow: true, Person: bob, From: here})
		w.wants("decided", err)
		tokens, err := w.poll(a)
		w.wants("", err)
		id, err := w.ValidateToken(w.Context(), tokens.AccessToken.Reveal(), deviceauth.Requirement{})
		if err != nil || id.Person.User != "alice" {
			w.Errorf("got %+v, %v", id, err)
		}
	})
}

// protocol 20
func TestRefreshRotatesAndSparesAnHonestRetry(t *testing.T) {
	in(t, func(w *world) {
		first := w.tokens()
		second, err := w.refresh(first.RefreshToken, "")
		w.wants("", err)
		time.Sleep(29 * time.Second)
		again, err := w.refresh(first.RefreshToken, "")
		w.wants("", err)
		if again.RefreshToken != second.RefreshToken || second.RefreshToken == first.RefreshToken {
			w.Error("the retry was given another successor")
		}
		time.Sleep(time.Second)
		_, err = w.refresh(first.RefreshToken, "")
		w.wants("invalid_grant", err)
		_, err = w.refresh(second.RefreshToken, "")
		w.wants("invalid_grant", err) // the whole grant has ended
		w.wants("invalid_token", w.admit(second.AccessToken))
	})
}

// protocol 20: the id in a token is no secret, so it must not be enough to end a grant.
func TestForgedRefreshTokenEndsNothing(t *testing.T) {
	in(t, func(w *world) {
		tokens := w.tokens()
		forged := []byte(tokens.RefreshToken.Reveal())
		forged[40] ^= 1
		_, err := w.refresh(deviceauth.Secret(forged), "")
		w.wants("invalid_grant", err)
		_, err = w.refresh(tokens.RefreshToken, "")
		w.wants("", err)
	})
}

// protocol 22
func TestRefreshNarrowsButNeverWidens(t *testing.T) {
	in(t, func(w *world) {
		tokens := w.tokens()
		narrow, err := w.refresh(tokens.RefreshToken, "read")
		w.wants("", err)
		if narrow.Scope != "read" || narrow.IDToken != "" {
			w.Errorf("got scope %q and ID token %q", narrow.Scope, narrow.IDToken)
		}
		_, err = w.refresh(narrow.RefreshToken, "read admin")
		w.wants("invalid_scope", err)
		whole, err := w.refresh(narrow.RefreshToken, "")
		w.wants("", err)
		if !whole.Scope.Has("write") {
			w.Errorf("the grant itself was narrowed to %q", whole.Scope)
		}
		_, err = w.Refresh(w.Context(),
			deviceauth.RefreshRequest{Client: meter, RefreshToken: whole.RefreshToken.Reveal()})
		w.wants("invalid_grant", err)
		_, err = w.refresh(whole.RefreshToken, "")
		w.wants("", err) // another client's attempt had no effect
	})
}

// protocol 23
func TestIdleAndAbsoluteLifetimeEndAGrant(t *testing.T) {
	in(t, func(w *world) {
		idle := w.tokens()
		used := w.tokens()
		for day := 0; day < 90; day += 29 {
			time.Sleep(29 * 24 * time.Hour)
			next, err := w.refresh(used.RefreshToken, "")
			if day+29 < 90 {
				w.wants("", err)
				used = next
			} else {
				w.wants("invalid_grant", err)
			}
		}
		_, err := w.refresh(idle.RefreshToken, "")
		w.wants("invalid_grant", err)
	})
}

// protocol 24
func TestRevocation(t *testing.T) {
	in(t, func(w *world) {
		for _, pick := range []func(*deviceauth.Tokens) deviceauth.Secret{
			func(t *deviceauth.Tokens) deviceauth.Secret { return t.RefreshToken },
			func(t *deviceauth.Tokens) deviceauth.Secret { return t.AccessToken },
		} {
			tokens := w.tokens()
			w.wants("invalid_grant", w.Revoke(w.Context(),
				deviceauth.RevokeRequest{Client: meter, Token: pick(tokens).Reveal()}))
			w.wants("", w.admit(tokens.AccessToken))
			w.wants("", w.Revoke(w.Context(), deviceauth.RevokeRequest{Client: tv, Token: pick(tokens).Reveal()}))
			w.wants("invalid_token", w.admit(tokens.AccessToken))
			_, err := w.refresh(tokens.RefreshToken, "")
			w.wants("invalid_grant", err)
		}
		w.wants("", w.Revoke(w.Context(), deviceauth.RevokeRequest{Client: tv, Token: "whatever"}))
	})
}

// A token in an old log or backup must not be enough to disconnect a device.
//
// protocol 24
func TestTokenThatHasEndedEndsNoGrant(t *testing.T) {
	for _, client := range []deviceauth.Credentials{tv, meter} {
		in(t, func(w *world) {
			connect := func() *deviceauth.Tokens {
				a, err := w.Authorize(w.Context(), deviceauth.AuthorizeRequest{Client: client, From: here})
				w.wants("", err)
				w.answer(a, true)
				tokens, err := w.Redeem(w.Context(),
					deviceauth.RedeemRequest{Client: client, DeviceCode: a.DeviceCode.Reveal()})
				w.wants("", err)
				return tokens
			}
			revoke := func(as deviceauth.Credentials, token deviceauth.Secret) {
				w.Helper()
				w.wants("", w.Revoke(w.Context(), deviceauth.RevokeRequest{Client: as, Token: token.Reveal()}))
			}
			refresh := func(token deviceauth.Secret) *deviceauth.Tokens {
				w.Helper()
				tokens, err := w.Refresh(w.Context(),
					deviceauth.RefreshRequest{Client: client, RefreshToken: token.Reveal()})
				if err != nil {
					w.Fatal(err)
				}
				return tokens
			}
			first := connect()
			second := refresh(first.RefreshToken)
			time.Sleep(31 * time.Second) // the grace period has passed
			revoke(client, first.RefreshToken)
			revoke(tv, first.RefreshToken) // unknown to everybody
			w.wants("", w.admit(second.AccessToken))
			time.Sleep(16 * time.Minute)
			revoke(client, first.AccessToken)
			revoke(client, first.RefreshToken)
			third := refresh(second.RefreshToken)
			w.wants("", w.admit(third.AccessToken))
			refresh(third.RefreshToken)
			revoke(client, third.RefreshToken) // a retry to refresh: it lives
			w.wants("invalid_token", w.admit(third.AccessToken))
			fourth := connect()
			revoke(client, fourth.AccessToken)
			w.wants("invalid_token", w.admit(fourth.AccessToken))
		})
	}
}

// protocol 30
func TestAdmission(t *testing.T) {
	in(t, func(w *world) {
		tokens := w.tokens()
		admit := func(token deviceauth.Secret, need deviceauth.Requirement) error {
			_, err := w.ValidateToken(w.Context(), token.Reveal(), need)
			return err
		}
		w.wants("", admit(tokens.AccessToken, deviceauth.Requirement{Scope: "read write"}))
		w.wants("insufficient_scope", admit(tokens.AccessToken, deviceauth.Requirement{Scope: "read admin"}))
		w.wants("invalid_token", admit(tokens.AccessToken,
			deviceauth.Requirement{Audience: []string{"https://other.example"}}))
		w.wants("invalid_token", admit(tokens.IDToken, deviceauth.Requirement{}))
		w.wants("invalid_token", admit(tokens.RefreshToken, deviceauth.Requirement{}))
		w.wants("invalid_token", admit("", deviceauth.Requirement{}))
		id, err := w.ValidateToken(w.Context(), tokens.AccessToken.Reveal(), deviceauth.Requirement{})
		if err != nil || id.Person.User != "alice" || id.ClientID != "tv" {
			w.Errorf("got %+v, %v", id, err)
		}
		time.Sleep(15 * time.Minute)
		w.wants("invalid_token", w.admit(tokens.AccessToken))
	})
}

// protocol 36, 44
func TestInspectTellsAGuesserNothing(t *testing.T) {
	in(t, func(w *world) {
		used, expired := w.authorize(), w.authorize()
		w.answer(used, true)
		time.Sleep(10 * time.Minute)
		var texts []string
		for _, code := range []string{used.UserCode, expired.UserCode, "BBBB-BBBB"} {
			time.Sleep(10 * time.Minute) // so that no limit is reached
			_, err := w.inspect(alice, code)
			w.wants("unknown_code", err)
			texts = append(texts, err.Error())
		}
		if len(slices.Compact(texts)) != 1 {
			w.Errorf("the answers differ: %q", texts)
		}
		open := w.authorize()
		for _, p := range []*deviceauth.Person{mallory, person("bob", "bob@example.com", false),
			{Subject: "old|1", Upstream: "old"}} {
			_, err := w.inspect(p, open.UserCode)
			w.wants("not_permitted", err)
		}
		if _, err := w.inspect(alice, " "+strings.ToLower(strings.ReplaceAll(open.UserCode, "-", "–"))+
			" "); err != nil {
			w.Errorf("as people type it: %v", err)
		}
	})
}

// protocol 38
func TestSecondDecisionChangesNothing(t *testing.T) {
	in(t, func(w *world) {
		a := w.authorize()
		g, err := w.inspect(alice, a.UserCode)
		w.wants("", err)
		w.answer(a, true)
		for _, allow := range []bool{true, false} {
			_, err := w.Answer(w.Context(),
				deviceauth.AnswerRequest{Grant: g.ID, Allow: allow, Person: alice, From: here})
			w.wants("decided", err)
		}
		_, err = w.poll(a)
		w.wants("", err)
	})
}

// A broken store cannot write.
type broken struct{ deviceauth.Store }

func (broken) Update(context.Context, deviceauth.ID, func(*deviceauth.Grant) error) error {
	return errors.New("the disk is full")
}

// protocol 4
func TestFaultConsumesNothing(t *testing.T) {
	in(t, func(w *world) {
		a := w.authorize()
		w.answer(a, true)
		keys, err := keyring.Open(w.Context(), w.store, "")
		if err != nil {
			w.Fatal(err)
		}
		c := config()
		c.Store, c.Signer, c.RefreshKey = broken{Store: w.store}, keys, keys.Source(keyring.PurposeRefresh)
		sick, err := deviceauth.New(c)
		if err != nil {
			w.Fatal(err)
		}
		_, err = sick.Redeem(w.Context(), deviceauth.RedeemRequest{Client: tv, DeviceCode: a.DeviceCode.Reveal()})
		if err == nil || deviceauth.AsError(err) != nil {
			w.Errorf("got %v, want a fault", err)
		}
		_, err = w.poll(a)
		w.wants("", err)
	})
}

// A mute store keeps a change, and then fails to say so: a connection that
// breaks before the answer, a disk that fails to sync.
type mute struct {
	deviceauth.Store
	times atomic.Int32 // how often it is mute
}

func (m *mute) Update(ctx context.Context, id deviceauth.ID, change func(*deviceauth.Grant) error) error {
	err := m.Store.Update(ctx, id, change)
	if err == nil && m.times.Add(-1) >= 0 {
		return errors.New("the connection broke")
	}
	return err
}

// muted puts a mute store under the engine.
func (w *world) muted() *mute {
	m := &mute{Store: w.store}
	w.anew(func(c *deviceauth.Config) { c.Store, c.PollState = m, deviceauth.NewPollState() })
	return m
}

// protocol 4, 17
func TestTokensThatWereKeptAndNotGivenAreGivenOnce(t *testing.T) {
	in(t, func(w *world) {
		m := w.muted()
		a, healthy := w.authorize(), w.authorize()
		w.answer(a, true)
		w.answer(healthy, true)
		m.times.Store(2)
		for range 2 { // the second time it is the confirmation that fails
			if _, err := w.poll(a); err == nil || deviceauth.AsError(err) != nil {
				w.Fatalf("got %v, want a fault", err)
			}
		}
		_, err := w.Redeem(w.Context(), deviceauth.RedeemRequest{Client: meter, DeviceCode: a.DeviceCode.Reveal()})
		w.wants("invalid_grant", err)
		const polls = 16
		given := make(chan *deviceauth.Tokens, polls)
		for range polls {
			go func() {
				tokens, err := w.poll(a)
				if err != nil {
					w.wants("invalid_grant", err)
				}
				given <- tokens
			}()
		}
		var all []*deviceauth.Tokens
		for range polls {
			if tokens := <-given; tokens != nil {
				all = append(all, tokens)
			}
		}
		if len(all) != 1 {
			w.Fatalf("%d polls were given tokens", len(all))
		}
		w.wants("", w.admit(all[0].AccessToken))
		_, err = w.refresh(all[0].RefreshToken, "")
		w.wants("", err)
		_, err = w.poll(healthy)
		w.wants("", err)
	})
}

// protocol 4, 20
func TestRefreshThatWasKeptAndNotGivenIsNoTheft(t *testing.T) {
	in(t, func(w *world) {
		m := w.muted()
		first := w.tokens()
		m.times.Store(1)
		if _, err := w.refresh(first.RefreshToken, ""); err == nil || deviceauth.AsError(err) != nil {
			w.Fatalf("got %v, want a fault", err)
		}
		time.Sleep(4 * time.Minute) // far beyond the grace
		second, err := w.refresh(first.RefreshToken, "")
		w.wants("", err)
		third, err := w.refresh(second.RefreshToken, "")
		w.wants("", err)
		w.wants("", w.admit(third.AccessToken))
		_, err = w.refresh(first.RefreshToken, "") // now it is one
		w.wants("invalid_grant", err)
		w.wants("invalid_token", w.admit(third.AccessToken))
	})
}

// A store that is behind shows a grant as it was before its redemption.
type behind struct {
	deviceauth.Store
	before *deviceauth.Grant
}

func (b *behind) Get(ctx context.Context, id deviceauth.ID) (*deviceauth.Grant, error) {
	if b.before != nil && b.before.ID == id {
		g := *b.before
		return &g, nil
	}
	return b.Store.Get(ctx, id)
}

// protocol 19: a token is good at every gateway from the moment it is given.
func TestNewTokenIsGoodWhereItsRedemptionIsNotKnownYet(t *testing.T) {
	in(t, func(w *world) {
		a := w.authorize()
		g, err := w.inspect(alice, a.UserCode)
		w.wants("", err)
		pending := *g
		w.answer(a, true)
		tokens, err := w.poll(a)
		w.wants("", err)
		w.anew(func(c *deviceauth.Config) { c.Store = &behind{Store: w.store, before: &pending} })
		w.wants("", w.admit(tokens.AccessToken))
		_, err = w.refresh(tokens.RefreshToken, "")
		w.wants("", err)
	})
}

// protocol 19, 23
func TestRefreshTokenSaysForHowLong(t *testing.T) {
	in(t, func(w *world) {
		tokens := w.tokens()
		if tokens.RefreshExpiresIn != 30*24*time.Hour {
			t.Errorf("at first %v", tokens.RefreshExpiresIn)
		}
		for range 4 { // it is used, and its absolute end comes nearer
			time.Sleep(20 * 24 * time.Hour)
			var err error
			if tokens, err = w.refresh(tokens.RefreshToken, ""); err != nil {
				t.Fatal(err)
			}
		}
		if tokens.RefreshExpiresIn != 10*24*time.Hour {
			t.Errorf("after 80 of 90 days %v", tokens.RefreshExpiresIn)
		}
	})
}
