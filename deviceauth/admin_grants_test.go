package deviceauth_test

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// list returns the standings of all grants that a filter wants, sorted.
func (w *world) list(f deviceauth.Filter, limit int) (standings []string) {
	w.Helper()
	for after := ""; ; {
		page, next, err := w.Grants(w.Context(), f, after, limit)
		if err != nil {
			w.Fatal(err)
		}
		for _, g := range page {
			standings = append(standings, string(g.Standing(time.Now())))
		}
		if after = next; after == "" {
			slices.Sort(standings)
			return standings
		}
	}
}

// one of everything that can become of a grant.
func (w *world) everything() {
	w.Helper()
	w.authorize() // expires
	time.Sleep(11 * time.Minute)
	w.tokens()
	w.answer(w.authorize(), false)
	w.answer(w.authorize(), true)
	revoked := w.tokens()
	w.wants("", w.Revoke(w.Context(), deviceauth.RevokeRequest{Client: tv, Token: revoked.RefreshToken.Reveal()}))
	w.authorize()
	_, err := w.Authorize(w.Context(), deviceauth.AuthorizeRequest{Client: meter, From: here})
	w.wants("", err)
}

func TestGrantsAreFiltered(t *testing.T) {
	tests := []struct {
		name   string
		filter deviceauth.Filter
		want   []string
	}{
		{"nothing is asked", deviceauth.Filter{},
			[]string{"approved", "connected", "denied", "expired", "pending", "pending", "revoked"}},
		{"a client", deviceauth.Filter{Client: "meter"}, []string{"pending"}},
		{"a client that there is not", deviceauth.Filter{Client: "radio"}, nil},
		{"a subject", deviceauth.Filter{Person: "work|alice"}, []string{"approved", "connected", "revoked"}},
		{"a subject, and where it is", deviceauth.Filter{Person: "work|alice", Standing: "connected"},
			[]string{"connected"}},
		{"a subject, and a client", deviceauth.Filter{Person: "work|alice", Client: "meter"}, nil},
		{"a user", deviceauth.Filter{Person: "alice"}, []string{"approved", "connected", "revoked"}},
		{"nobody", deviceauth.Filter{Person: "work|nobody"}, nil},
		{"a session is no person", deviceauth.Filter{Person: deviceauth.SessionKey("work", "a")}, nil},
		{"what waits", deviceauth.Filter{Standing: "pending"}, []string{"pending", "pending"}},
		{"what is over", deviceauth.Filter{Standing: "ended"}, []string{"denied", "expired", "revoked"}},
		{"what is not", deviceauth.Filter{Standing: "live"}, []string{"approved", "connected", "pending", "pending"}},
	}
	in(t, func(w *world) {
		w.everything()
		for _, test := range tests {
			for _, limit := range []int{0, 1, 3, 100} {
				if got := w.list(test.filter, limit); !slices.Equal(got, test.want) {
					w.Errorf("%s, %d at a time: got %q, want %q", test.name, limit, got, test.want)
				}
			}
		}
		_, _, err := w.Grants(w.Context(), deviceauth.Filter{Standing: "gone"}, "", 10)
		w.wants("invalid_request", err)
		_, _, err = w.Grants(w.Context(), deviceauth.Filter{}, "nonsense", 10)
		w.wants("invalid_request", err)
	})
}

func TestCensusCountsEachGrantOnce(t *testing.T) {
	in(t, func(w *world) {
		w.everything()
		counts, err := w.Census(w.Context())
		w.wants("", err)
		want := map[deviceauth.Standing]int{"pending": 2, "approved": 1, "connected": 1, "denied": 1,
			"revoked": 1, "expired": 1}
		if !maps.Equal(counts, want) {
			w.Errorf("counted %v, want %v", counts, want)
		}
	})
}

// An operator's search for a rare grant must not block the gateway.
func TestOneCallLooksAtFewGrants(t *testing.T) {
	in(t, func(w *world) {
		for range 300 {
			w.authorize()
		}
		found, next, err := w.Grants(w.Context(), deviceauth.Filter{Standing: "connected"}, "", 10)
		if len(found) > 0 || next == "" || err != nil {
			w.Errorf("got %d grants, %q, %v; want a place to go on from", len(found), next, err)
		}
	})
}

func TestUserThatLooksLikeASubjectIsFound(t *testing.T) {
	in(t, func(w *world) {
		p := *alice
		p.User = "work|7"
		a := w.authorize()
		g, err := w.inspect(&p, a.UserCode)
		w.wants("", err)
		_, err = w.Answer(w.Context(), deviceauth.AnswerRequest{Grant: g.ID, Allow: true, Person: &p, From: here})
		w.wants("", err)
		if got := w.list(deviceauth.Filter{Person: "work|7"}, 10); !slices.Equal(got, []string{"approved"}) {
			w.Errorf("got %q", got)
		}
	})
}

func TestStandingHasAnEnd(t *testing.T) {
	in(t, func(w *world) {
		w.tokens()
		list, _, err := w.Grants(w.Context(), deviceauth.Filter{}, "", 10)
		w.wants("", err)
		g := list[0]
		end := g.Until(time.Now())
		if want := time.Now().Add(30 * 24 * time.Hour); !end.Equal(want) {
			w.Errorf("it ends %v, want %v", end, want)
		}
		if before, at := g.Standing(end.Add(-1)), g.Standing(end); before != "connected" || at != "expired" ||
			!g.Until(end).IsZero() {
			w.Errorf("before its end it is %s, then %s", before, at)
		}
	})
}

// protocol 14, 24
func TestOperatorEndsGrants(t *testing.T) {
	in(t, func(w *world) {
		pending, approved, connected := w.authorize(), w.authorize(), w.tokens()
		w.answer(approved, true)
		result := make(chan error)
		go func() { _, err := w.poll(pending); result <- err }() // held
		time.Sleep(time.Second)
		list, _, err := w.Grants(w.Context(), deviceauth.Filter{Standing: deviceauth.StandingLive}, "", 100)
		if err != nil || len(list) != 3 {
			w.Fatal(len(list), err)
		}
		w.events = nil
		began := time.Now()
		for range 2 { // what has ended stays as it is
			for _, g := range list {
				g, err := w.End(w.Context(), g.ID)
				if err != nil || g.Reason != deviceauth.ReasonOperator || !g.Ended.Equal(began) {
					w.Errorf("got %+v, %v", g, err)
				}
			}
		}
		w.wants("access_denied", <-result)
		_, err = w.poll(pending)
		w.wants("access_denied", err)
		_, err = w.poll(approved)
		w.wants("access_denied", err)
		w.wants("invalid_token", w.admit(connected.AccessToken))
		_, err = w.refresh(connected.RefreshToken, "")
		w.wants("invalid_grant", err)
		_, err = w.inspect(alice, pending.UserCode)
		w.wants("unknown_code", err)
		if !time.Now().Equal(began) {
			w.Errorf("it takes %v", time.Since(began))
		}
		if got := w.events; !slices.Equal(got,
			[]string{deviceauth.EventRevoked, deviceauth.EventRevoked, deviceauth.EventRevoked}) {
			w.Errorf("told: %q", got)
		}
		_, err = w.End(w.Context(), deviceauth.ID{1})
		_, unknown := w.Grant(w.Context(), deviceauth.ID{1})
		if !errors.Is(err, deviceauth.ErrNotFound) || !errors.Is(unknown, deviceauth.ErrNotFound) {
			w.Errorf("a grant that there is not: %v, %v", err, unknown)
		}
	})
}

// protocol 11
func TestGrantThatTheOperatorEndsMakesRoom(t *testing.T) {
	in(t, func(w *world) {
		w.authorize()
		_, err := w.Authorize(w.Context(), deviceauth.AuthorizeRequest{Client: tv, From: here})
		w.wants("slow_down", err)
		list, _, err := w.Grants(w.Context(), deviceauth.Filter{}, "", 1)
		w.wants("", err)
		for range 2 {
			_, err = w.End(w.Context(), list[0].ID)
			w.wants("", err)
		}
		w.authorize()
		_, err = w.Authorize(w.Context(), deviceauth.AuthorizeRequest{Client: tv, From: here})
		w.wants("slow_down", err)
	}, func(c *deviceauth.Config) { c.Pending.PerAddress = 1 })
}
