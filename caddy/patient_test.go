package main

import (
	"context"
	"errors"
	"fmt"
	"html"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// A patient device keeps to the protocol while the store fails: what is answered 503
// it asks again, and it is astonished at any other answer that takes back what it
// was handed.
type patient struct {
	survivor
	all      []*gateway // that serve the issuer
	approved <-chan string
	redeemed int // codes that gave tokens
	answered int
	turned   int // 503
}

var errDoubled = errors.New("a device code gave tokens twice")

// live asks and asks, until the faults are over.
func (h *patient) live(ctx context.Context, over <-chan struct{}) error {
	for {
		select {
		case <-over:
			return nil
		case <-ctx.Done():
			return nil
		default:
		}
		status, err := h.step(ctx)
		if err != nil {
			return err
		}
		if status == http.StatusServiceUnavailable {
			h.turned++
		} else {
			h.answered++
		}
		time.Sleep(rand.N(20 * time.Millisecond)) // a device's, so that 32 of them leave the machine some time
	}
}

func (h *patient) step(ctx context.Context) (status int, err error) {
	roll := rand.IntN(100)
	switch {
	case h.held.Access == "" && h.asking == "":
		select {
		case h.asking = <-h.approved:
		default:
			return h.askForCode(ctx)
		}
		fallthrough
	case h.held.Access == "":
		return h.redeem(ctx, 1+roll%2)
	case h.revoking || roll == 0 && !h.refreshing:
		h.revoking = true
		answer, err := h.post(ctx, "/oauth2/revoke", url.Values{"token": {h.held.Refresh}})
		if err == nil && answer.Status == http.StatusOK {
			h.end()
		}
		return expected(answer, err, "")
	case roll < 25:
		switch status := h.at(h.held.Access, h.all[roll%len(h.all)]); status {
		case http.StatusOK, http.StatusServiceUnavailable:
			return status, nil
		case http.StatusBadGateway: // it was let in, and there was no descriptor for a connection to the backend
			return status, nil
		default:
			return status, fmt.Errorf("an access token that was handed out is answered %d", status)
		}
	}
	h.refreshing = true
	answer, err := h.refresh(ctx, h.held.Refresh)
	if err == nil && answer.Status == http.StatusOK {
		h.held, h.refreshing = answer, false
	}
	return expected(answer, err, "")
}

// expected lets pass what is good, what is 503 and one error more.
func expected(answer tokens, err error, more string) (int, error) {
	fine := answer.Status == http.StatusOK || answer.Status == http.StatusServiceUnavailable ||
		more != "" && answer.Error == more
	if err == nil && !fine {
		err = fmt.Errorf("got %+v", answer)
	}
	return answer.Status, err
}

// askForCode is load, and nobody ever types the code.
func (h *patient) askForCode(ctx context.Context) (int, error) {
	answer, err := h.post(ctx, "/oauth2/device_authorization", url.Values{})
	return expected(answer, err, "")
}

// redeem polls for an approved code, several times at once. One of them gets tokens,
// or they are all to come again.
func (h *patient) redeem(ctx context.Context, polls int) (status int, err error) {
	answers, errs := make([]tokens, polls), make([]error, polls)
	var wg sync.WaitGroup
	for i := range polls {
		wg.Go(func() { answers[i], errs[i] = h.poll(ctx, h.asking) })
	}
	wg.Wait()
	code, later := h.asking, false
	for i, answer := range answers {
		other := "invalid_grant" // where one beside it got the tokens, or will
		if polls == 1 {
			other = ""
		}
		if status, err = expected(answer, errs[i], other); err != nil {
			return status, fmt.Errorf("a code whose person said yes: %w", err)
		}
		switch {
		case status == http.StatusServiceUnavailable:
			later = true
		case status != http.StatusOK:
		case h.held.Access != "":
			return status, errDoubled
		default:
			h.held, h.code, h.asking, h.since = answer, code, "", time.Now()
			h.redeemed++
		}
	}
	if h.held.Access == "" && !later {
		return status, fmt.Errorf("%d polls at once of a code whose person said yes are all refused: %+v",
			polls, answers)
	}
	return status, nil
}

func (h *patient) at(token string, g *gateway) int {
	there := survivor{g: g}
	return there.api(token)
}

// settled looks at everything that the device was handed, when all is calm.
func (h *patient) settled(ctx context.Context) error {
	if h.asking != "" {
		if _, err := h.redeem(ctx, 1); err != nil || h.held.Access == "" {
			return fmt.Errorf("a code whose person said yes gives nothing when all is calm: %w", err)
		}
	}
	return h.check(ctx)
}

// approves says yes to a new code, and reports whether the person was told that the
// device is connected. Any page on the way may say that the store is away.
func (p *person) approves(g *gateway) (code string, confirmed bool) {
	asked := &device{t: p.t, g: g}
	if g.post("/oauth2/device_authorization", url.Values{"client_id": {"cool-gadget"}}, asked); asked.Code == "" {
		return "", false
	}
	p.open(asked.Full)
	p.submit("/device", "user_code", asked.User)
	if strings.Contains(p.page, "Who are you?") {
		p.submit("/login", "user", p.user)
	}
	if !p.reads("Connect Cool Gadget?") {
		return "", false
	}
	p.submit("/device/confirm", "answer", "allow")
	return asked.Code, p.reads("is connected")
}

// reads tells whether the page's heading has a text.
func (p *person) reads(text string) bool {
	h := heading.FindStringSubmatch(p.page)
	return h != nil && strings.Contains(html.UnescapeString(h[1]), text)
}
