package deviceauth_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// connected signs alice in, in a session at the upstream, and connects a device.
func (w *world) connected(session string) (*deviceauth.Person, *deviceauth.Tokens) {
	w.Helper()
	p := *alice
	p.Session, p.SignedIn = session, time.Now()
	a := w.authorize()
	g, err := w.inspect(&p, a.UserCode)
	w.wants("", err)
	_, err = w.Answer(w.Context(), deviceauth.AnswerRequest{Grant: g.ID, Allow: true, Person: &p, From: here})
	w.wants("", err)
	tokens, err := w.poll(a)
	w.wants("", err)
	return &p, tokens
}

func TestSignOutAtTheUpstreamEndsWhatCameOfTheSignIn(t *testing.T) {
	tests := []struct {
		name  string
		out   deviceauth.Logout
		left  []bool // of the devices of session a, of session b, and of one that is not known
		pages bool   // the browser of session a is still signed in
	}{
		{"a subject", deviceauth.Logout{Upstream: "work", Subject: "work|alice"}, []bool{false, false, false}, false},
		{"a session", deviceauth.Logout{Upstream: "work", Session: "a"}, []bool{false, true, true}, false},
		{"a session of a subject", deviceauth.Logout{Upstream: "work", Subject: "work|alice", Session: "a"}, []bool{false, true, false}, false},
		{"another session", deviceauth.Logout{Upstream: "work", Subject: "work|alice", Session: "c"}, []bool{true, true, false}, true},
		{"another subject", deviceauth.Logout{Upstream: "work", Subject: "work|bob"}, []bool{true, true, true}, true},
		{"another upstream", deviceauth.Logout{Upstream: "home", Session: "a"}, []bool{true, true, true}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			in(t, func(w *world) {
				person, first := w.connected("a")
				_, second := w.connected("b")
				_, third := w.connected("")
				test.out.Token = "1"
				w.wants("", w.SignOut(w.Context(), test.out))
				for i, tokens := range []*deviceauth.Tokens{first, second, third} {
					if left := w.admit(tokens.AccessToken) == nil; left != test.left[i] {
						t.Errorf("device %d: admitted: %v, want %v", i, left, test.left[i])
					}
				}
				want := ""
				if !test.pages {
					want = "signed_out"
				}
				_, err := w.Connections(w.Context(), person)
				w.wants(want, err)
				_, err = w.inspect(person, w.authorize().UserCode)
				w.wants(want, err)
				w.wants(want, w.Disconnect(w.Context(), person, mustID(w, second)))
				time.Sleep(time.Second)
				w.connected("a") // a new sign-in is a new one
			})
		})
	}
}

func mustID(w *world, t *deviceauth.Tokens) deviceauth.ID {
	w.Helper()
	list, err := w.store.ByOwner(w.Context(), alice.Subject)
	if err != nil || len(list) == 0 {
		w.Fatalf("no grants: %v", err)
	}
	return list[1].ID
}

func TestReplayedLogoutDoesNothing(t *testing.T) {
	in(t, func(w *world) {
		out := deviceauth.Logout{Upstream: "work", Subject: "work|alice", Token: "1"}
		w.wants("", w.SignOut(w.Context(), out))
		time.Sleep(time.Second)
		_, tokens := w.connected("a")
		w.wants("", w.SignOut(w.Context(), out))
		if err := w.admit(tokens.AccessToken); err != nil {
			t.Errorf("the device of the sign-in since: %v", err)
		}
		out.Token = "2"
		w.wants("", w.SignOut(w.Context(), out))
		if w.admit(tokens.AccessToken) == nil {
			t.Error("the next logout does nothing")
		}
	})
}

// crossed signs alice out between the decision of a grant and its record.
type crossed struct {
	deviceauth.Store
	at func()
}

func (c *crossed) Update(ctx context.Context, id deviceauth.ID, change func(*deviceauth.Grant) error) error {
	if at := c.at; at != nil {
		c.at = nil
		at()
	}
	return c.Store.Update(ctx, id, change)
}

func TestYesThatCrossesTheSignOutIsTakenBack(t *testing.T) {
	in(t, func(w *world) {
		store := &crossed{Store: w.store}
		w.anew(func(c *deviceauth.Config) { c.Store = store })
		a := w.authorize()
		g, err := w.inspect(alice, a.UserCode)
		w.wants("", err)
		store.at = func() {
			w.wants("", w.SignOut(w.Context(), deviceauth.Logout{Upstream: "work", Subject: alice.Subject}))
		}
		_, err = w.Answer(w.Context(), deviceauth.AnswerRequest{Grant: g.ID, Allow: true, Person: alice, From: here})
		w.wants("signed_out", err)
		_, err = w.poll(a)
		w.wants("access_denied", err)
	})
}

// protocol 23
func TestUpstreamIsAskedAtEveryRefresh(t *testing.T) {
	var asked atomic.Int32
	var answer atomic.Pointer[func(*deviceauth.Person) (*deviceauth.Person, error)]
	say := func(f func(*deviceauth.Person) (*deviceauth.Person, error)) { answer.Store(&f) }
	asks := func(c *deviceauth.Config) {
		c.Revalidate = func(_ context.Context, p *deviceauth.Person) (*deviceauth.Person, error) {
			asked.Add(1)
			return (*answer.Load())(p)
		}
	}
	in(t, func(w *world) {
		renamed := *alice
		renamed.Claims = deviceauth.Claims{"email": "alice@example.com", "email_verified": true, "name": "Alice Married"}
		say(func(*deviceauth.Person) (*deviceauth.Person, error) { return &renamed, nil })
		_, tokens := w.connected("")
		next, err := w.refresh(tokens.RefreshToken, "")
		w.wants("", err)
		again, err := w.refresh(tokens.RefreshToken, "") // a retry
		w.wants("", err)
		if next.RefreshToken != again.RefreshToken || asked.Load() != 1 {
			t.Errorf("asked %d times, want once: a retry changes nothing", asked.Load())
		}
		if id, err := w.Admit(w.Context(), next.AccessToken.Reveal(), deviceauth.Requirement{}); err != nil || id.Person.Claims.String("name") != "Alice Married" {
			t.Errorf("the backend is told of %+v, %v", id, err)
		}
		say(func(*deviceauth.Person) (*deviceauth.Person, error) { return nil, errors.New("connection refused") })
		if _, err := w.refresh(next.RefreshToken, ""); err == nil || deviceauth.Refused(err) != nil {
			t.Errorf("an upstream that is down: got %v, want a fault", err)
		}
		say(func(*deviceauth.Person) (*deviceauth.Person, error) { return &renamed, nil })
		last, err := w.refresh(next.RefreshToken, "")
		w.wants("", err)
		say(func(*deviceauth.Person) (*deviceauth.Person, error) {
			return nil, deviceauth.Refuse("person_gone", "disabled")
		})
		_, err = w.refresh(last.RefreshToken, "")
		w.wants("invalid_grant", err)
		if w.admit(last.AccessToken) == nil || !slices.Contains(w.events, deviceauth.EventBarred) {
			t.Errorf("the device is still in, or nobody was told: %v", w.events)
		}
	}, asks)
	in(t, func(w *world) { // a rule that the person no longer matches
		_, tokens := w.connected("")
		moved := *alice
		moved.Claims = deviceauth.Claims{"email": "alice@elsewhere.example", "email_verified": true}
		say(func(*deviceauth.Person) (*deviceauth.Person, error) { return &moved, nil })
		_, err := w.refresh(tokens.RefreshToken, "")
		w.wants("invalid_grant", err)
	}, asks)
	in(t, func(w *world) { // a store that is behind must not let a refresh pass unasked
		_, tokens := w.connected("")
		say(func(p *deviceauth.Person) (*deviceauth.Person, error) { return p, nil })
		old := &snapshots{Store: w.store}
		w.anew(func(c *deviceauth.Config) { c.Store = old })
		old.freeze(w)
		second, err := w.refresh(tokens.RefreshToken, "")
		w.wants("", err)
		say(func(*deviceauth.Person) (*deviceauth.Person, error) {
			return nil, deviceauth.Refuse("person_gone", "disabled")
		})
		_, err = w.refresh(second.RefreshToken, "")
		w.wants("invalid_grant", err)
	}, asks)
}

// snapshots answers with how things were.
type snapshots struct {
	deviceauth.Store
	grants map[deviceauth.ID]*deviceauth.Grant
}

func (s *snapshots) freeze(w *world) {
	list, err := w.store.ByOwner(w.Context(), alice.Subject)
	w.wants("", err)
	s.grants = map[deviceauth.ID]*deviceauth.Grant{}
	for _, g := range list {
		s.grants[g.ID] = g
	}
}

func (s *snapshots) Get(ctx context.Context, id deviceauth.ID) (*deviceauth.Grant, error) {
	if g := s.grants[id]; g != nil {
		old := *g
		return &old, nil
	}
	return s.Store.Get(ctx, id)
}
