package deviceauth_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// only returns the one device that a person has.
func (w *world) only(p *deviceauth.Person) *deviceauth.Grant {
	w.Helper()
	list, err := w.Connections(w.Context(), p)
	w.wants("", err)
	if len(list) != 1 {
		w.Fatalf("%d devices are connected, want one", len(list))
	}
	return list[0]
}

func TestPersonNamesTheirDevice(t *testing.T) {
	in(t, func(w *world) {
		person, tokens := w.connected("")
		id := w.only(person).ID
		counted := func() (n int) {
			for _, event := range w.events {
				if event == deviceauth.EventRenamed {
					n++
				}
			}
			return n
		}
		for i, test := range []struct{ typed, want string }{
			{"  Living\troom\u00a0TV \u202e\x00 ", "Living room TV"},
			{"居間のテレビ", "居間のテレビ"},
			{strings.Repeat("ä", text.MaxName) + " too long", strings.Repeat("ä", text.MaxName)},
			{"\u200b\u3000", ""},
		} {
			for range 2 { // reported only once
				w.wants("", w.Rename(w.Context(), person, id, test.typed, netip.Addr{}))
			}
			if g := w.only(person); g.Name != test.want || counted() != i+1 {
				t.Errorf("%q: the device is called %q, want %q; told %d times",
					test.typed, g.Name, test.want, counted())
			}
		}
		w.wants("", w.Rename(w.Context(), person, id, "Kitchen", netip.Addr{}))
		time.Sleep(time.Second)
		_, err := w.refresh(tokens.RefreshToken, "")
		w.wants("", err)
		if g := w.only(person); g.Name != "Kitchen" {
			t.Errorf("after a refresh the device is called %q", g.Name)
		}
	})
}

func TestOnlyItsOwnerNamesADevice(t *testing.T) {
	in(t, func(w *world) {
		person, _ := w.connected("")
		id := w.only(person).ID
		others := []*deviceauth.Person{
			{Subject: "work|bob", Upstream: "work", User: person.User},
			{Subject: "home|alice", Upstream: "home", User: person.User},
		}
		for _, other := range others {
			w.wants("not_connected", w.Rename(w.Context(), other, id, "Mine", netip.Addr{}))
		}
		w.wants("not_connected", w.Rename(w.Context(), person, deviceauth.ID{1}, "Nobody's", netip.Addr{}))
		pending := w.authorize()
		g, err := w.inspect(person, pending.UserCode)
		w.wants("", err)
		w.wants("not_connected", w.Rename(w.Context(), person, g.ID, "Not yet", netip.Addr{}))
		if got := w.only(person).Name; got != "" || slices.Contains(w.events, deviceauth.EventRenamed) {
			t.Errorf("the device is called %q, and told was %v", got, w.events)
		}
		w.wants("", w.Disconnect(w.Context(), person, id, netip.Addr{}))
		w.wants("not_connected", w.Rename(w.Context(), person, id, "Too late", netip.Addr{}))
		w.wants("", w.SignOut(w.Context(),
			deviceauth.SignOut{Upstream: "work", Subject: person.Subject, At: time.Now()}))
		w.wants("signed_out", w.Rename(w.Context(), person, id, "Nobody", netip.Addr{}))
	})
}

// The last letters of a code are kept until the code cannot be entered any more; the
// rest is deleted when the device has its tokens.
//
// protocol 38
func TestTailOfACodeOutlivesIt(t *testing.T) {
	in(t, func(w *world) {
		a := w.authorize()
		g, err := w.inspect(alice, a.UserCode)
		w.wants("", err)
		if g.CodeTail() != "" {
			t.Errorf("a code that waits shows %q", g.CodeTail())
		}
		signedIn := *alice
		signedIn.Fresh = g.UserCode
		g, err = w.Answer(w.Context(), deviceauth.AnswerRequest{
			Grant: g.ID, Allow: true, Person: &signedIn, From: here,
		})
		w.wants("", err)
		want := a.UserCode[len(a.UserCode)-4:]
		if g.CodeTail() != want {
			t.Errorf("after the yes %q is shown, want %q", g.CodeTail(), want)
		}
		_, err = w.poll(a)
		w.wants("", err)
		g = w.only(alice)
		if g.CodeTail() != want || string(g.UserCode) != want || g.Person.Fresh != "" {
			t.Errorf("of %s there is %q and %q, shown is %q", a.UserCode, g.UserCode, g.Person.Fresh, g.CodeTail())
		}
		denied := w.authorize()
		g, err = w.inspect(alice, denied.UserCode)
		w.wants("", err)
		g, err = w.Answer(w.Context(), deviceauth.AnswerRequest{Grant: g.ID, Person: alice, From: here})
		w.wants("", err)
		if g.CodeTail() != "" {
			t.Errorf("after a no %q is shown", g.CodeTail())
		}
		older := deviceauth.Grant{State: deviceauth.Active, Person: alice}
		if older.CodeTail() != "" {
			t.Errorf("of no code %q is shown", older.CodeTail())
		}
	})
}

func FuzzCleanName(f *testing.F) {
	f.Add("Living room")
	f.Add(" \u202eevil\u0300\ufe0f\xff ")
	f.Fuzz(func(t *testing.T, typed string) {
		name := text.CleanName(typed)
		clean := name == "" || text.IsClean(name) && text.CleanName(name) == name
		if !clean || utf8.RuneCountInString(name) > text.MaxName {
			t.Errorf("%q becomes %q", typed, name)
		}
	})
}
