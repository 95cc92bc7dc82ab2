package deviceauth_test

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// signedOutDocument returns the name of the document for the sign-outs of a user
// name.
func signedOutDocument(name string) string {
	sum := sha256.Sum256([]byte(name))
	return "signed-out-" + hex.EncodeToString(sum[:1])
}

// since returns alice, signed in at the given time.
func since(at time.Time) *deviceauth.Person {
	p := *alice
	p.SignedIn = at
	return &p
}

// Garbled sign-outs in the store are a fault or are ignored, and never cause a panic.
func TestSignOutsThatAreGarbledEndNothing(t *testing.T) {
	for _, text := range []string{"null", "{}", "", "[]", "7", `{"work|1":7}`, `{"work|1":null}`} {
		in(t, func(w *world) {
			err := w.store.UpdateDocument(w.Context(), signedOutDocument(alice.Subject),
				func([]byte) ([]byte, error) { return []byte(text), nil })
			w.wants("", err)
			was := since(time.Now())
			time.Sleep(time.Second)
			if err := w.EndSessions(w.Context(), alice.Subject, ""); err != nil {
				return // a fault
			}
			_, err = w.Connections(w.Context(), was)
			w.wants("signed_out", err)
		})
	}
}

// A sign-out that was recorded with a future time, while the clock was ahead, ends
// the sign-ins so far, but does not prevent new ones.
func TestSignOutByAClockThatWasAheadLocksOutNoPerson(t *testing.T) {
	in(t, func(w *world) {
		was := since(time.Now())
		time.Sleep(time.Hour)
		w.wants("", w.SignOut(w.Context(),
			deviceauth.SignOut{Upstream: "work", Subject: alice.Subject, At: time.Now().AddDate(0, 0, 100)}))
		_, err := w.Connections(w.Context(), was)
		w.wants("signed_out", err)
		time.Sleep(time.Minute)
		_, err = w.Connections(w.Context(), since(time.Now()))
		w.wants("", err)
		_, err = w.Connections(w.Context(), was)
		w.wants("signed_out", err)
	})
}

// A sign-in of a day to come, begun while the clock was ahead, ends like any other.
func TestSignInByAClockThatWasAheadCanBeEnded(t *testing.T) {
	in(t, func(w *world) {
		ahead := since(time.Now().AddDate(0, 0, 100))
		_, err := w.Connections(w.Context(), ahead)
		w.wants("", err)
		w.wants("", w.EndSessions(w.Context(), alice.Subject, ""))
		time.Sleep(time.Hour)
		_, err = w.Connections(w.Context(), ahead)
		w.wants("signed_out", err)
	})
}
