package deviceauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/memstore"
)

// wrongCode is one of 400 codes that the mask could have drawn.
func wrongCode(i int) string {
	return "BBBB-BB" + string([]byte{deviceauth.Base20[i/20%20], deviceauth.Base20[i%20]})
}

// A typist is a person at a browser somewhere.
type typist struct {
	w       *world
	person  *deviceauth.Person
	browser string
	from    netip.Addr
}

func (w *world) typist(name, browser, from string) typist {
	return typist{w: w, person: person(name, name+"@example.com", true), browser: browser,
		from: netip.MustParseAddr(from)}
}

func (y typist) types(code, want string) {
	y.w.Helper()
	r := deviceauth.InspectRequest{Person: y.person, Browser: y.browser, From: y.from, Code: code}
	_, err := y.w.Inspect(y.w.Context(), r)
	y.w.wants(want, err)
}

// everywhere runs a test with a gateway that counts in memory, and with one that
// counts in a shared store.
func everywhere(t *testing.T, test func(*world), changes ...func(*deviceauth.Config)) {
	t.Run("one gateway", func(t *testing.T) { in(t, test, changes...) })
	t.Run("a store that gateways share", func(t *testing.T) {
		in(t, test, append(changes, func(c *deviceauth.Config) {
			c.PollState = deviceauth.NewPollState()
			c.PollState.Share(memstore.Gateways(1)[0])
		})...)
	})
}

// A browser that goes away while its code is looked at, by a double click or on a
// bad line, leaves no count of a code that was right.
//
// protocol 36
func TestBrowserThatGoesAwayHasNotGuessed(t *testing.T) {
	hangsUp := &hangingUp{Gateway: memstore.Gateways(1)[0]}
	in(t, func(w *world) {
		a := w.authorize()
		var ctx context.Context
		ctx, hangsUp.cancel = context.WithCancel(w.Context())
		w.Inspect(ctx, deviceauth.InspectRequest{Person: alice, Browser: "b", From: here, Code: a.UserCode})
		if ctx.Err() == nil || hangsUp.Counts() != 0 {
			w.Errorf("of a right code is counted: %d", hangsUp.Counts())
		}
	}, func(c *deviceauth.Config) {
		c.PollState = deviceauth.NewPollState()
		c.PollState.Share(hangsUp)
	})
}

// hangingUp is a gateway whose client goes away when all is counted, and which,
// as Redis does, does nothing under a context that has ended.
type hangingUp struct {
	*memstore.Gateway
	cancel func()
}

func (s *hangingUp) CountUp(ctx context.Context, key string, window time.Duration) (deviceauth.Count, error) {
	if key == "all" {
		defer s.cancel()
	}
	return s.Gateway.CountUp(ctx, key, window)
}

func (s *hangingUp) CountDown(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.Gateway.CountDown(ctx, key)
}

// protocol 36
func TestWrongCodesStopWhoTypesThem(t *testing.T) {
	t.Run("a browser at an address", func(t *testing.T) {
		everywhere(t, func(w *world) {
			right := w.authorize()
			guesser := w.typist("bob", "b1", "192.0.2.7")
			for i := range 5 {
				guesser.types(right.UserCode, "") // a right code resets nothing
				guesser.types(wrongCode(i), "unknown_code")
			}
			guesser.types(right.UserCode, "too_many_guesses")
			w.typist("carol", "b2", "192.0.2.7").types(right.UserCode, "")
			time.Sleep(10*time.Minute - time.Second)
			guesser.types(wrongCode(6), "too_many_guesses")
			time.Sleep(time.Second)
			guesser.types(wrongCode(6), "unknown_code")
		})
	})
	t.Run("an IPv6 /64 is one address", func(t *testing.T) {
		everywhere(t, func(w *world) {
			for i := range 5 {
				w.typist("bob", "b1", fmt.Sprintf("2001:db8::%x", i)).types(wrongCode(i), "unknown_code")
			}
			w.typist("bob", "b1", "2001:db8::ffff").types(wrongCode(5), "too_many_guesses")
			w.typist("bob", "b1", "2001:db8:0:1::1").types(wrongCode(5), "unknown_code")
		})
	})
	t.Run("a person everywhere", func(t *testing.T) {
		everywhere(t, func(w *world) {
			for i := range 10 {
				w.typist("bob", fmt.Sprint("b", i), fmt.Sprint("192.0.2.", i)).types(wrongCode(i), "unknown_code")
			}
			w.typist("bob", "another", "198.51.100.9").types(wrongCode(10), "too_many_guesses")
			w.typist("carol", "b1", "192.0.2.1").types(wrongCode(10), "unknown_code")
		})
	})
}

// People who share an address with guessers are served, as long as they have not
// entered a wrong code themselves.
//
// protocol 36
func TestAddressOfGuessersServesTheOthers(t *testing.T) {
	everywhere(t, func(w *world) {
		right := w.authorize()
		w.typist("honest", "h", "192.0.2.7").types(right.UserCode, "")
		for i := range 50 {
			w.typist(fmt.Sprint("guest", i/5), fmt.Sprint("b", i/5), "192.0.2.7").types(wrongCode(i), "unknown_code")
		}
		w.typist("honest", "h", "192.0.2.7").types(right.UserCode, "")
		// Those who have entered a wrong code elsewhere share the limit of this
		// address.
		w.typist("clumsy", "c", "198.51.100.9").types(wrongCode(50), "unknown_code")
		w.typist("clumsy", "c", "192.0.2.7").types(right.UserCode, "too_many_guesses")
		w.typist("clumsy", "c", "198.51.100.9").types(right.UserCode, "")
		time.Sleep(10 * time.Minute)
		w.typist("clumsy", "c", "192.0.2.7").types(right.UserCode, "unknown_code") // it has expired
	})
}

// Sixty accounts that guess use up a minute's failures, and stop themselves;
// only failures that no sixty accounts can have stop everybody.
//
// protocol 36
func TestManyGuessersStopThemselvesAlone(t *testing.T) {
	everywhere(t, func(w *world) {
		right := w.authorize()
		fail := func(from, to int, want string) {
			w.Helper()
			for i := from; i < to; i++ {
				w.typist(fmt.Sprint("guest", i/5), "b", fmt.Sprintf("10.%d.%d.1", i/5/256, i/5%256)).
					types(wrongCode(i), want)
			}
		}
		fail(0, 600, "unknown_code")
		fail(600, 601, "unknown_code") // the first one of a new account
		fail(601, 605, "too_many_guesses")
		honest := w.typist("honest", "h", "198.51.100.9")
		honest.types(right.UserCode, "")
		for i := range 2399 { // each the first one of a new account
			w.typist(fmt.Sprint("fresh", i), "b", fmt.Sprintf("10.9.%d.%d", i/256, i%256)).
				types(wrongCode(i), "unknown_code")
		}
		honest.types(right.UserCode, "too_many_guesses")
		time.Sleep(time.Minute)
		honest.types(right.UserCode, "")
	})
}

// A form that is posted twice, and a page that is loaded again, are one guess.
//
// protocol 36
func TestSameWrongCodeCountsOnce(t *testing.T) {
	everywhere(t, func(w *world) {
		bob := w.typist("bob", "b", "192.0.2.7")
		for range 20 {
			bob.types("BBBB-BBBB", "unknown_code")
			bob.types("bbbb bbbb", "unknown_code")
		}
		for i := range 4 {
			bob.types(wrongCode(i+1), "unknown_code")
		}
		bob.types(wrongCode(5), "too_many_guesses")
		w.typist("carol", "c", "192.0.2.7").types("BBBB-BBBB", "unknown_code") // it counts for each person
	})
}

// A code of impossible form is refused at once, and does not count as a guess.
//
// protocol 36
func TestImpossibleCodeCountsNothing(t *testing.T) {
	everywhere(t, func(w *world) {
		right := w.authorize()
		bob := w.typist("bob", "b", "192.0.2.7")
		impossible := []string{"", "-", "☃", "BBBB-BBB", "BBBB-BBBBB", "BBBB-BBBA", "1234-5678",
			strings.Repeat("B", 500)}
		for _, code := range impossible {
			if w.Possible(code) {
				t.Errorf("%q is possible", code)
			}
			bob.types(code, "impossible_code")
		}
		for _, code := range []string{right.UserCode, "bbbb bbbb"} {
			if !w.Possible(code) {
				t.Errorf("%q is impossible", code)
			}
		}
		bob.types(right.UserCode, "")
	})
}

// Codes of the mask before a reload are possible for as long as they live.
//
// protocol 36
func TestCodesOfTheMaskBeforeStayPossible(t *testing.T) {
	in(t, func(w *world) {
		old := w.authorize()
		digits, err := deviceauth.NewMask("***-***-***", "base10")
		w.wants("", err)
		w.anew(func(c *deviceauth.Config) { c.UserCode = digits })
		bob := w.typist("bob", "b", "192.0.2.7")
		bob.types(old.UserCode, "")
		bob.types("123-456-789", "unknown_code")
		time.Sleep(10 * time.Minute)
		bob.types(old.UserCode, "impossible_code")
	}, func(c *deviceauth.Config) { c.PollState = deviceauth.NewPollState() })
}

// protocol 36: of guesses that arrive together no more are looked at than may be
// wrong, and codes that are right are found, however many are typed at once.
func TestGuessesAtOnceAreCounted(t *testing.T) {
	in(t, func(w *world) {
		const many = 64
		right, found, refused := make([]*deviceauth.Authorization, many), make(chan error, many), make(chan error, many)
		for i := range right {
			right[i] = w.authorize()
		}
		for _, a := range right {
			go func() { _, err := w.inspect(alice, a.UserCode); found <- err }()
		}
		for range many {
			w.wants("", <-found)
		}
		for i := range many {
			go func() { _, err := w.inspect(alice, wrongCode(i)); refused <- err }()
		}
		unknown := 0
		for range many {
			if err := <-refused; deviceauth.AsError(err).Code == "unknown_code" {
				unknown++
			} else {
				w.wants("too_many_guesses", err)
			}
		}
		if unknown != 5 {
			w.Errorf("%d wrong codes were looked at, want 5", unknown)
		}
	})
}

// Thousands of accounts that guess for an hour, each from other addresses, neither
// fill the memory nor make the limiter forget the guesses of one of them.
//
// protocol 36
func TestGuessersCannotFillTheMemory(t *testing.T) {
	in(t, func(w *world) {
		accounts := 0
		bob := w.typist("bob", "b", "192.0.2.7")
		for minute := range 30 {
			if minute%10 == 0 {
				for i := range 5 {
					bob.types(wrongCode(i), "unknown_code")
				}
			}
			for i := range 4_000 {
				accounts++
				r := deviceauth.InspectRequest{
					Person:  person(fmt.Sprint("guest", accounts), "guest@example.com", true),
					Browser: fmt.Sprint(accounts),
					From:    netip.AddrFrom4([4]byte{10, byte(accounts >> 16), byte(accounts >> 8), byte(accounts)}),
					Code:    wrongCode(i),
				}
				if _, err := w.Inspect(w.Context(), r); deviceauth.AsError(err) == nil {
					t.Fatal(err)
				}
			}
			if n := w.config.PollState.UserCodeCounts(); n > 132_000 {
				t.Fatalf("%d counts are kept", n)
			}
			bob.types(wrongCode(9), "too_many_guesses")
			time.Sleep(time.Minute)
		}
	}, func(c *deviceauth.Config) { c.PollState = deviceauth.NewPollState() })
}

// While the shared store is unavailable, each gateway counts for itself.
//
// protocol 36
func TestGuessesAreCountedWhileTheSharedStoreIsAway(t *testing.T) {
	in(t, func(w *world) {
		bob := w.typist("bob", "b", "192.0.2.7")
		for i := range 5 {
			bob.types(wrongCode(i), "unknown_code")
		}
		bob.types(wrongCode(5), "too_many_guesses")
	}, func(c *deviceauth.Config) {
		c.PollState = deviceauth.NewPollState()
		c.PollState.Share(&away503{Gateway: memstore.Gateways(1)[0]})
	})
}

// away503 is a shared store that cannot be asked.
type away503 struct{ *memstore.Gateway }

func (*away503) CountUp(context.Context, string, time.Duration) (deviceauth.Count, error) {
	return deviceauth.Count{}, errors.New("connection refused")
}

func (*away503) CountDown(context.Context, string) error { return errors.New("connection refused") }
