package deviceauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// try requests a code as the TV from an address.
func (w *world) try(from string) (*deviceauth.Authorization, error) {
	request := deviceauth.AuthorizeRequest{Client: tv, From: netip.MustParseAddr(from)}
	return w.Authorize(w.Context(), request)
}

// If several addresses share a limit, those that fill it lose their codes to the
// others and have to wait; the others neither wait nor lose a code.
//
// protocol 11
func TestWhoHoldsMostGivesWay(t *testing.T) {
	limits := map[string]deviceauth.PendingLimits{
		"of a client": {PerAddress: 100, PerClient: 8},
		"in total":    {PerAddress: 100, Total: 8},
	}
	for name, limit := range limits {
		t.Run(name, func(t *testing.T) {
			in(t, (*world).givesWay, waitOff, func(c *deviceauth.Config) {
				c.Pending, c.Network = limit, deviceauth.NetworkOff
			})
		})
	}
}

// givesWay fills a limit of eight from one network, and then from many.
func (w *world) givesWay() {
	var attacker, strangers []*deviceauth.Authorization
	for i := range 8 {
		attacker = append(attacker, w.authorizeFrom(fmt.Sprintf("2001:db8:66:%x::1", i)))
	}
	_, err := w.try("2001:db8:66:ff00::1")
	w.wants("slow_down", err)
	for i := range 7 {
		from := fmt.Sprintf("192.0.%d.1", i)
		if i%2 == 1 {
			from = fmt.Sprintf("2001:db8:%x::1", i)
		}
		strangers = append(strangers, w.authorizeFrom(from))
		if i < 6 { // now no address holds more than another one
			_, err = w.try("2001:db8:66:ff01::1")
			w.wants("slow_down", err)
		}
	}
	var throttled *deviceauth.RateLimitError
	_, err = w.try("198.51.100.1")
	if !errors.As(err, &throttled) || throttled.RetryAfter < time.Second ||
		throttled.RetryAfter > 10*time.Minute+time.Second {
		w.Errorf("everybody has one: %#v", err)
	}
	for i, a := range attacker {
		want := "expired_token"
		if i == 0 { // the newest went first
			want = "authorization_pending"
		}
		_, err := w.poll(a)
		w.wants(want, err)
	}
	_, err = w.inspect(alice, attacker[7].UserCode)
	w.wants("unknown_code", err)
	for _, a := range strangers {
		_, err := w.poll(a)
		w.wants("authorization_pending", err)
	}
	w.answer(strangers[0], true)
	_, err = w.poll(strangers[0])
	w.wants("", err)
	w.authorizeFrom("198.51.100.1")
}

// A device whose grant was dropped is told at its next poll, and at every further
// one, that its code has expired; the operator sees an expired grant and the reason.
//
// protocol 11, 14
func TestDeviceThatGivesWayHearsThatItsCodeIsOver(t *testing.T) {
	in(t, func(w *world) {
		w.authorizeFrom("192.0.2.1")
		newest := w.authorizeFrom("192.0.2.2")
		result, began := make(chan error, 1), time.Now()
		go func() { _, err := w.poll(newest); result <- err }()
		time.Sleep(time.Second) // of the bubble: the poll is held by then
		w.authorizeFrom("198.51.100.1")
		w.wants("expired_token", <-result)
		if took := time.Since(began); took > 1100*time.Millisecond {
			t.Errorf("the held poll was answered after %v", took)
		}
		for range 3 {
			time.Sleep(3 * time.Minute)
			_, err := w.poll(newest)
			w.wants("expired_token", err)
		}
		grants, _, err := w.Grants(w.Context(), deviceauth.Filter{Standing: deviceauth.StandingExpired}, "", 100)
		w.wants("", err)
		reasons := map[string]int{}
		for _, g := range grants {
			reasons[g.Reason]++
		}
		if reasons[deviceauth.ReasonCrowdedOut] != 1 {
			t.Errorf("of the expired grants, by reason: %v", reasons)
		}
	}, func(c *deviceauth.Config) { c.Pending.Total = 2 })
}

// An address does not lose a code to one that holds as many: otherwise two that
// request codes in turn would end each other's for ever.
//
// protocol 11
func TestEqualsDoNotGiveWay(t *testing.T) {
	in(t, func(w *world) {
		for i := range 4 {
			w.authorizeFrom(fmt.Sprintf("192.0.%d.1", i/2))
		}
		for i := range 4 {
			_, err := w.try(fmt.Sprintf("192.0.%d.1", i%2))
			w.wants("slow_down", err)
		}
		w.authorizeFrom("198.51.100.1") // 2, 1, 1
		_, err := w.try("203.0.113.1")
		w.wants("", err) // 1, 1, 1, 1
		_, err = w.try("198.51.100.2")
		w.wants("slow_down", err)
	}, func(c *deviceauth.Config) { c.Pending.Total = 4 })
}

// After a restart the table is empty, and what the store still has frees no
// place of others.
//
// protocol 11
func TestGrantOfBeforeARestartFreesNoPlace(t *testing.T) {
	in(t, func(w *world) {
		old := w.authorizeFrom("192.0.2.1")
		live := deviceauth.NewPollState()
		w.anew(func(c *deviceauth.Config) { c.PollState, c.Network = live, deviceauth.NetworkOff })
		w.authorizeFrom("192.0.2.1")
		w.answer(old, true)
		if pending, _ := live.Counts(); pending != 1 {
			t.Errorf("%d wait, want 1", pending)
		}
		_, err := w.try("192.0.2.1")
		w.wants("slow_down", err)
	}, func(c *deviceauth.Config) { c.Pending.PerAddress = 1 })
}

// A store that cannot end the grant to be dropped delays no request: the grant
// expires by itself.
//
// protocol 4, 11
func TestGrantThatCannotBeEndedDelaysNoOther(t *testing.T) {
	in(t, func(w *world) {
		w.authorizeFrom("192.0.2.1")
		newest := w.authorizeFrom("192.0.2.2")
		w.authorizeFrom("198.51.100.1")
		_, err := w.poll(newest)
		w.wants("authorization_pending", err)
		time.Sleep(10 * time.Minute)
		_, err = w.poll(newest)
		w.wants("expired_token", err)
	}, waitOff, func(c *deviceauth.Config) { c.Pending.Total, c.Store = 2, broken{Store: c.Store} })
}

// hurried is a store in which, while it keeps a first grant, many others come.
type hurried struct {
	deviceauth.Store
	meanwhile func()
}

func (s *hurried) Create(ctx context.Context, g *deviceauth.Grant) error {
	if meanwhile := s.meanwhile; meanwhile != nil {
		s.meanwhile = nil
		meanwhile()
	}
	return s.Store.Create(ctx, g)
}

// A grant that gives way while the store is still keeping it is not handed out,
// and does not stay there.
//
// protocol 11
func TestGrantThatGivesWayBeforeItIsKept(t *testing.T) {
	slow := new(hurried)
	in(t, func(w *world) {
		w.authorizeFrom("192.0.2.1")
		slow.meanwhile = func() { w.authorizeFrom("198.51.100.1") }
		_, err := w.try("192.0.2.2")
		w.wants("slow_down", err)
		grants, _, err := w.Grants(w.Context(), deviceauth.Filter{Standing: deviceauth.StandingPending}, "", 100)
		w.wants("", err)
		if len(grants) != 2 {
			t.Errorf("%d wait in the store, want 2", len(grants))
		}
	}, func(c *deviceauth.Config) { c.Pending.Total = 2; slow.Store, c.Store = c.Store, slow })
}

// A grant that was answered at another gateway is not ended by this one, which
// does not know that yet.
//
// protocol 11, 17
func TestGrantAnsweredElsewhereDoesNotGiveWay(t *testing.T) {
	in(t, func(w *world) {
		w.authorizeFrom("192.0.2.1")
		newest := w.authorizeFrom("192.0.2.2")
		this := w.Engine
		w.anew(func(c *deviceauth.Config) { c.PollState = deviceauth.NewPollState() })
		w.answer(newest, true)
		w.Engine = this
		w.authorizeFrom("198.51.100.1")
		_, err := w.poll(newest)
		w.wants("", err)
	}, func(c *deviceauth.Config) { c.Pending.Total, c.Network = 2, deviceauth.NetworkOff })
}
