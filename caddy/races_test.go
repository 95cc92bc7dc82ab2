package main

import (
	"net/http"
	"sync"
	"testing"
)

// rounds is how often each race is run.
const rounds = 20

// together runs all at the same moment, as far as two cores can.
func together(n int, do func(i int)) {
	var wg sync.WaitGroup
	gate := make(chan struct{})
	for i := range n {
		wg.Go(func() { <-gate; do(i) })
	}
	close(gate)
	wg.Wait()
}

// protocol 17
func TestOfManyPollsOneGetsTheTokens(t *testing.T) {
	t.Parallel()
	g := start(t)
	alice := newPerson(t, "alice")
	for range rounds {
		d := g.device()
		alice.allow(d)
		const polls = 64
		answers := make([]tokens, polls)
		together(polls, func(i int) { answers[i] = d.poll() })
		won, refused := 0, 0
		for _, answer := range answers {
			switch {
			case answer.Status == http.StatusOK && answer.Access != "":
				won++
			case answer.Status == http.StatusBadRequest && answer.Error == "invalid_grant":
				refused++
			}
		}
		if won != 1 || refused != polls-1 {
			t.Errorf("%d polls got tokens and %d invalid_grant, want 1 and %d", won, refused, polls-1)
		}
	}
}

// protocol 21
func TestOfManyRefreshesAllGetTheSameSuccessor(t *testing.T) {
	t.Parallel()
	g := start(t)
	d := g.device()
	newPerson(t, "alice").allow(d)
	token := d.poll().Refresh
	for range rounds {
		const refreshes = 32
		answers := make([]tokens, refreshes)
		together(refreshes, func(i int) { answers[i] = g.refresh(token) })
		for _, answer := range answers {
			if answer.Status != http.StatusOK || answer.Refresh != answers[0].Refresh || answer.Refresh == token {
				t.Fatalf("got %+v, want 200 and the successor %q", answer, answers[0].Refresh)
			}
			if status, _ := g.api(answer.Access); status != http.StatusOK {
				t.Fatalf("one of the new access tokens is refused: %d", status)
			}
		}
		token = answers[0].Refresh
	}
}

// protocol 24: whoever has heard that a grant is revoked finds none of its
// tokens alive, neither those handed out before nor those handed out since.
func TestNothingLivesAfterTheAnswerOfARevocation(t *testing.T) {
	t.Parallel()
	g := start(t)
	alice := newPerson(t, "alice")
	for round := range rounds {
		d := g.device()
		alice.allow(d)
		first := d.poll()
		var mu sync.Mutex
		handedOut := []tokens{first}
		together(32, func(i int) {
			if i%4 != round%4 {
				if answer := g.refresh(first.Refresh); answer.Status == http.StatusOK {
					mu.Lock()
					defer mu.Unlock()
					handedOut = append(handedOut, answer)
				}
				return
			}
			if status := g.revoke(first.Refresh); status != http.StatusOK {
				t.Errorf("the revocation is answered %d", status)
			}
			mu.Lock()
			known := handedOut[len(handedOut)-1]
			mu.Unlock()
			if status, _ := g.api(known.Access); status != http.StatusUnauthorized {
				t.Errorf("after the revocation's answer the API answers %d", status)
			}
			if answer := g.refresh(known.Refresh); answer.Error != "invalid_grant" {
				t.Errorf("after the revocation's answer a refresh gives %+v", answer)
			}
		})
		for _, answer := range handedOut {
			if status, _ := g.api(answer.Access); status != http.StatusUnauthorized {
				t.Errorf("a token outlives the revocation: %d", status)
			}
		}
	}
}
