package deviceauth_test

import (
	"context"
	"errors"
	"net/netip"
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

// signedIn checks whether a person in the browser sees devices, looks codes up and
// disconnects the first device, or is signed out from all of that.
func (w *world) signedIn(p *deviceauth.Person, still bool) {
	w.Helper()
	want := map[bool]string{false: "signed_out"}[still]
	list, err := w.Connections(w.Context(), p)
	w.wants(want, err)
	_, err = w.inspect(p, w.authorize().UserCode)
	w.wants(want, err)
	if want == "" && len(list) == 0 {
		want = "not_connected" // the person before disconnected it
	}
	id := deviceauth.ID{1}
	if len(list) > 0 {
		id = list[0].ID
	}
	w.wants(want, w.Disconnect(w.Context(), p, id, netip.Addr{}))
}

func TestSignOutAtTheUpstreamEndsWhatCameOfTheSignIn(t *testing.T) {
	tests := []struct {
		name string
		out  deviceauth.SignOut
		left [3]bool // whether sessions a, b and an unknown one are left: the device works, the browser is signed in
	}{
		{"a subject", deviceauth.SignOut{Upstream: "work", Subject: "work|alice"}, [3]bool{}},
		{"a session", deviceauth.SignOut{Upstream: "work", Session: "a"}, [3]bool{false, true, true}},
		{"a session of a subject", deviceauth.SignOut{Upstream: "work", Subject: "work|alice", Session: "a"},
			[3]bool{false, true, false}},
		{"another session", deviceauth.SignOut{Upstream: "work", Subject: "work|alice", Session: "c"},
			[3]bool{true, true, false}},
		{"another subject", deviceauth.SignOut{Upstream: "work", Subject: "work|bob"}, [3]bool{true, true, true}},
		{"another upstream", deviceauth.SignOut{Upstream: "home", Session: "a"}, [3]bool{true, true, true}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			in(t, func(w *world) {
				var people [3]*deviceauth.Person
				var devices [3]*deviceauth.Tokens
				for i, session := range []string{"a", "b", ""} {
					people[i], devices[i] = w.connected(session)
				}
				test.out.At = time.Now()
				w.wants("", w.SignOut(w.Context(), test.out))
				for i, tokens := range devices {
					if left := w.admit(tokens.AccessToken) == nil; left != test.left[i] {
						t.Errorf("device %d: admitted: %v, want %v", i, left, test.left[i])
					}
				}
				for i := range people {
					w.signedIn(people[i], test.left[i])
				}
				time.Sleep(time.Second)
				w.connected("a") // a new sign-in is a new one
			})
		})
	}
}

func TestReplayedLogoutSaysNothingOfASignInSince(t *testing.T) {
	in(t, func(w *world) {
		first := deviceauth.SignOut{Upstream: "work", Subject: "work|alice", At: time.Now()}
		time.Sleep(time.Second)
		second := first
		second.At = time.Now()
		w.wants("", w.SignOut(w.Context(), second))
		time.Sleep(time.Second)
		person, tokens := w.connected("a")
		for range 2 {
			w.wants("", w.SignOut(w.Context(), first))
			w.wants("", w.SignOut(w.Context(), second))
		}
		_, err := w.Connections(w.Context(), person)
		w.wants("", err)
		if err := w.admit(tokens.AccessToken); err != nil {
			t.Errorf("the device of the sign-in since: %v", err)
		}
		old := *person
		old.SignedIn = first.At.Add(time.Nanosecond)
		_, err = w.Connections(w.Context(), &old) // the later sign-out still counts
		w.wants("signed_out", err)
	})
}

// half is a store that cannot change one grant.
type half struct {
	deviceauth.Store
	broken deviceauth.ID
}

func (h *half) Update(ctx context.Context, id deviceauth.ID, change func(*deviceauth.Grant) error) error {
	if id == h.broken {
		return errors.New("the disk is full")
	}
	return h.Store.Update(ctx, id, change)
}

func TestSignOutEndsWhatItCan(t *testing.T) {
	in(t, func(w *world) {
		person, first := w.connected("")
		time.Sleep(time.Second)
		_, second := w.connected("")
		list, err := w.Connections(w.Context(), person)
		w.wants("", err)
		store := &half{Store: w.store, broken: list[len(list)-1].ID} // the older
		w.anew(func(c *deviceauth.Config) { c.Store = store })
		out := deviceauth.SignOut{Upstream: "work", Subject: "work|alice", At: time.Now()}
		if err := w.SignOut(w.Context(), out); err == nil {
			t.Error("the fault is not told")
		}
		if w.admit(first.AccessToken) != nil || w.admit(second.AccessToken) == nil {
			t.Error("one device is to stay, for want of a disk, and the other to go")
		}
		store.broken = deviceauth.ID{}
		w.wants("", w.SignOut(w.Context(), out))
		if w.admit(first.AccessToken) == nil {
			t.Error("the upstream told it again, and nobody heard")
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
			w.wants("", w.SignOut(w.Context(),
				deviceauth.SignOut{Upstream: "work", Subject: alice.Subject, At: time.Now()}))
		}
		_, err = w.Answer(w.Context(), deviceauth.AnswerRequest{Grant: g.ID, Allow: true, Person: alice, From: here})
		w.wants("signed_out", err)
		_, err = w.poll(a)
		w.wants("access_denied", err)
	})
}

// vouching is an upstream with preset results.
type vouching struct {
	asked  atomic.Int32
	answer atomic.Pointer[vouch]
}

type vouch struct {
	person *deviceauth.Person // nil: as they were
	err    error
}

func (v *vouching) returns(p *deviceauth.Person, err error) {
	v.answer.Store(&vouch{person: p, err: err})
}

func (v *vouching) config(c *deviceauth.Config) {
	v.returns(nil, nil)
	c.Revalidate = func(_ context.Context, p *deviceauth.Person) (*deviceauth.Person, error) {
		v.asked.Add(1)
		switch answer := v.answer.Load(); {
		case answer.err != nil:
			return nil, answer.err
		case answer.person != nil:
			return answer.person, nil
		}
		return p, nil
	}
}

var errDisabled = deviceauth.NewError("person_gone", "disabled")

// protocol 23
func TestUpstreamIsAskedAtEveryRefresh(t *testing.T) {
	var upstream vouching
	in(t, func(w *world) {
		_, tokens := w.connected("")
		renamed := *alice
		renamed.Claims = deviceauth.Claims{"email": "alice@example.com", "email_verified": true,
			"name": "Alice Married"}
		upstream.returns(&renamed, nil)
		before := upstream.asked.Load()
		next, err := w.refresh(tokens.RefreshToken, "")
		w.wants("", err)
		again, err := w.refresh(tokens.RefreshToken, "") // a retry
		w.wants("", err)
		if asked := upstream.asked.Load() - before; next.RefreshToken != again.RefreshToken || asked != 1 {
			t.Errorf("asked %d times, want once: a retry changes nothing", asked)
		}
		if id, err := w.ValidateToken(w.Context(), next.AccessToken.Reveal(), deviceauth.Requirement{}); err != nil ||
			id.Person.Claims.String("name") != "Alice Married" {
			t.Errorf("the backend is told of %+v, %v", id, err)
		}
		upstream.returns(nil, errors.New("connection refused"))
		if _, err := w.refresh(next.RefreshToken, ""); err == nil || deviceauth.AsError(err) != nil {
			t.Errorf("an upstream that is down: got %v, want a fault", err)
		}
		upstream.returns(nil, nil)
		last, err := w.refresh(next.RefreshToken, "")
		w.wants("", err)
		upstream.returns(nil, errDisabled)
		_, err = w.refresh(last.RefreshToken, "")
		w.wants("invalid_grant", err)
		if w.admit(last.AccessToken) == nil || !slices.Contains(w.events, deviceauth.EventBarred) {
			t.Errorf("the device is still in, or nobody was told: %v", w.events)
		}
	}, upstream.config)
}

// protocol 23
func TestRulesSeeWhatTheUpstreamSaysNow(t *testing.T) {
	var upstream vouching
	in(t, func(w *world) {
		_, tokens := w.connected("")
		moved := *alice
		moved.Claims = deviceauth.Claims{"email": "alice@elsewhere.example", "email_verified": true}
		upstream.returns(&moved, nil)
		_, err := w.refresh(tokens.RefreshToken, "")
		w.wants("invalid_grant", err)
	}, upstream.config)
}

// protocol 23
func TestNoRefreshPassesUnaskedWhereTheStoreIsBehind(t *testing.T) {
	var upstream vouching
	in(t, func(w *world) {
		_, tokens := w.connected("")
		old := &snapshots{Store: w.store}
		w.anew(func(c *deviceauth.Config) { c.Store = old })
		old.freeze(w)
		second, err := w.refresh(tokens.RefreshToken, "")
		w.wants("", err)
		upstream.returns(nil, errDisabled)
		_, err = w.refresh(second.RefreshToken, "")
		w.wants("invalid_grant", err)
	}, upstream.config)
}

// protocol 44
func TestDisabledPersonConnectsNothingWithAnOldSession(t *testing.T) {
	var upstream vouching
	in(t, func(w *world) {
		a := w.authorize()
		g, err := w.inspect(alice, a.UserCode)
		w.wants("", err)
		answer := deviceauth.AnswerRequest{Grant: g.ID, Allow: true, Person: alice, From: here}
		upstream.returns(nil, errDisabled)
		_, err = w.Answer(w.Context(), answer)
		w.wants("not_permitted", err)
		upstream.returns(nil, errors.New("connection refused"))
		if _, err := w.Answer(w.Context(), answer); err == nil || deviceauth.AsError(err) != nil {
			t.Errorf("an upstream that is down: got %v, want a fault", err)
		}
		answer.Allow = false
		_, err = w.Answer(w.Context(), answer) // a refusal needs no confirmation by the upstream
		w.wants("", err)
	}, upstream.config)
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
