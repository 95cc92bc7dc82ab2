package deviceauth_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// wantEvents checks the events so far, by their names.
func (w *world) wantEvents(want ...string) {
	w.Helper()
	if !slices.Equal(w.events, want) {
		w.Errorf("told: %q, want %q", w.events, want)
	}
}

// protocol 4
func TestPauseStopsNewDevicesAndNoOthers(t *testing.T) {
	in(t, func(w *world) {
		pending, seen, refused, approved := w.authorize(), w.authorize(), w.authorize(), w.authorize()
		connected, given := w.connected("")
		w.answer(approved, true)
		g, err := w.inspect(alice, seen.UserCode)
		w.wants("", err)
		other, err := w.inspect(alice, refused.UserCode)
		w.wants("", err)
		w.events = nil
		_, err = w.Pause(w.Context(), "root", "a flood")
		w.wants("", err)

		_, err = w.Authorize(w.Context(), deviceauth.AuthorizeRequest{Client: tv, From: here})
		w.wants("temporarily_unavailable", err)
		_, err = w.Authorize(w.Context(), deviceauth.AuthorizeRequest{})
		w.wants("invalid_client", err)
		_, err = w.poll(pending)
		w.wants("authorization_pending", err)
		_, err = w.inspect(alice, pending.UserCode)
		w.wants("paused", err)
		w.wants("paused", w.Connects(w.Context()))
		_, err = w.Answer(w.Context(), deviceauth.AnswerRequest{Grant: g.ID, Allow: true, Person: alice, From: here})
		w.wants("paused", err)
		w.wantEvents(deviceauth.EventPaused, deviceauth.EventTurnedAway, deviceauth.EventTurnedAway)

		_, err = w.Answer(w.Context(), deviceauth.AnswerRequest{Grant: other.ID, Person: alice, From: here})
		w.wants("", err) // a no is always welcome
		_, err = w.poll(refused)
		w.wants("access_denied", err)
		_, err = w.poll(approved)
		w.wants("", err)
		w.wants("", w.admit(given.AccessToken))
		given, err = w.refresh(given.RefreshToken, "")
		w.wants("", err)
		list, err := w.Connections(w.Context(), connected)
		w.wants("", err)
		w.wants("", w.Disconnect(w.Context(), connected, list[0].ID, netip.Addr{}))
		w.wants("", w.Revoke(w.Context(), deviceauth.RevokeRequest{Client: tv, Token: given.RefreshToken.Reveal()}))

		w.wants("", w.Resume(w.Context(), "ops"))
		w.wants("", w.Connects(w.Context()))
		w.answer(pending, true)
		_, err = w.poll(pending)
		w.wants("", err)
		w.tokens()
	})
}

func TestPauseIsKeptWithWhoAndWhy(t *testing.T) {
	in(t, func(w *world) {
		if p, err := w.Paused(w.Context()); err != nil || p.On() {
			w.Errorf("at first: %+v, %v", p, err)
		}
		w.wants("", w.Resume(w.Context(), "ops")) // nothing to resume
		first, err := w.Pause(w.Context(), "root", "a flood")
		w.wants("", err)
		time.Sleep(time.Hour)
		_, err = w.Pause(w.Context(), "alice", "still a flood")
		w.wants("", err)
		w.anew(func(*deviceauth.Config) {}) // as a restart does
		w.wants("paused", w.Connects(w.Context()))
		if got, err := w.Paused(w.Context()); err != nil ||
			got != (deviceauth.Pause{Since: first.Since, By: "alice", Note: "still a flood"}) {
			w.Errorf("got %+v, %v", got, err)
		}
		for range 2 {
			w.wants("", w.Resume(w.Context(), "ops"))
		}
		if !slices.Equal(w.events, []string{deviceauth.EventPaused, deviceauth.EventPaused, deviceauth.EventResumed}) {
			w.Errorf("told: %q", w.events)
		}
	})
}

func TestOtherGatewayHearsOfAPauseWithinSeconds(t *testing.T) {
	in(t, func(w *world) {
		w.wants("", w.Connects(w.Context())) // so that it uses the cached pause
		other, err := deviceauth.New(w.config)
		w.wants("", err)
		for range 2 {
			_, err = other.Pause(w.Context(), "", "")
			w.wants("", err)
			time.Sleep(2 * time.Second)
			w.wants("paused", w.Connects(w.Context()))
			w.wants("", other.Resume(w.Context(), "ops"))
			time.Sleep(2 * time.Second)
			w.wants("", w.Connects(w.Context()))
		}
	})
}

// A store that loses its documents ends no pause: that is the operator's to do, and
// then no gateway that remembers it brings it back.
func TestPauseThatTheStoreLostGoesOn(t *testing.T) {
	in(t, func(w *world) {
		other, err := deviceauth.New(w.config)
		w.wants("", err)
		paused, err := w.Pause(w.Context(), "root", "a flood")
		w.wants("", err)
		w.wants("paused", other.Connects(w.Context()))
		forget := func() {
			w.wants("", w.store.PutDocument(w.Context(), "paused", nil, time.Time{}))
			time.Sleep(2 * time.Second)
		}
		forget()
		w.wants("paused", other.Connects(w.Context()))
		w.wants("paused", w.Connects(w.Context()))
		w.anew(func(*deviceauth.Config) {}) // it was written back
		if got, err := w.Paused(w.Context()); err != nil || got != paused {
			w.Errorf("got %+v, %v", got, err)
		}
		if !slices.Equal(w.events, []string{deviceauth.EventPaused, deviceauth.EventPaused}) {
			w.Errorf("told: %q", w.events)
		}
		forget()
		restarted, err := deviceauth.New(w.config) // has never heard of the pause
		w.wants("", err)
		w.wants("", restarted.Resume(w.Context(), "ops"))
		time.Sleep(2 * time.Second)
		w.wants("", other.Connects(w.Context()))
		w.wants("", w.Connects(w.Context()))
	})
}

// vault counts looks, which take a while, and may be away.
type vault struct {
	deviceauth.Documents
	looks atomic.Int32
	away  atomic.Bool
}

func (v *vault) UpdateDocument(ctx context.Context, name string, change func([]byte) ([]byte, error)) error {
	v.looks.Add(1)
	time.Sleep(100 * time.Millisecond)
	if v.away.Load() {
		return errors.New("the store is away")
	}
	return v.Documents.UpdateDocument(ctx, name, change)
}

func TestOneLookAtThePauseServesAll(t *testing.T) {
	v := &vault{}
	in(t, func(w *world) {
		ask := func(want string, looks int32) {
			w.Helper()
			v.looks.Store(0)
			var all sync.WaitGroup
			for range 50 {
				all.Go(func() { w.wants(want, w.Connects(w.Context())) })
			}
			all.Wait()
			w.wants(want, w.Connects(w.Context()))
			if got := v.looks.Load(); got != looks {
				w.Errorf("%d looks, want %d", got, looks)
			}
		}
		ask("", 1)
		ask("", 0)
		_, err := w.Pause(w.Context(), "", "")
		w.wants("", err)
		ask("paused", 0) // it knows its own pause even if the store fails right afterwards
		v.away.Store(true)
		time.Sleep(2 * time.Second)
		ask("paused", 1) // the last known pause
		time.Sleep(2 * time.Second)
		ask("paused", 1)
		v.away.Store(false)
		w.wants("", w.Resume(w.Context(), "ops"))
		ask("", 0)
		time.Sleep(2 * time.Second)
		ask("", 1)
	}, func(c *deviceauth.Config) { v.Documents = c.Documents; c.Documents = v })
}
