package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/oauth2"

	"github.com/deviceauth/caddy-deviceauth/internal/loadtest"
)

// atOnce is the number of simultaneous logins at each gateway. Their clicks are
// spread over five seconds, so they hardly delay each other.
const atOnce = 50

// measureClick measures the time from a person's click on Allow until the device has
// its tokens. The device uses golang.org/x/oauth2 with its defaults. Two gateways are
// measured at the same time: one that holds polls, which is the default, and one that
// does not.
func measureClick(ctx context.Context, b *bench) ([]row, error) {
	var took [2][]time.Duration
	var errs [2]error
	var wg sync.WaitGroup
	for i, lines := range [][]string{nil, {"wait off"}} {
		g, err := b.newGateway(lines...)
		if err != nil {
			return nil, err
		}
		g.withPeople()
		if err := g.start(ctx, b.binary); err != nil {
			return nil, err
		}
		defer g.Stop()
		wg.Go(func() { took[i], errs[i] = g.clicks(ctx, b.sizes.flows) })
	}
	wg.Wait()
	// If one gateway failed, the results of neither are used.
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return []row{
		clickRow("click to token, polls held (wait as it comes)", took[0], 0.99, 50),
		clickRow("click to token, polls held (wait as it comes)", took[0], 0.5, 0),
		clickRow("click to token, wait off", took[1], 0.99, 0),
		clickRow("click to token, wait off", took[1], 0.5, 0),
	}, nil
}

// clickRow returns a row with one percentile of all clicks. There are no rounds: every
// click is a measurement. A row without a target is for comparison: polling alone takes
// half of the interval on average.
func clickRow(what string, took []time.Duration, q, target float64) row {
	slices.Sort(took)
	value := milliseconds(loadtest.Percentile(took, q))
	return row{
		what: fmt.Sprintf("%s, p%g of %d", what, 100*q, len(took)), unit: "ms", target: target, atMost: true,
		value: loadtest.Spread{Median: value, Min: value, Max: value},
	}
}

// clicks performs n logins and returns their times. In each, the demo's account alice
// allows a device in a new browser. The first failure ends all of them: a login that is
// missing from the figures could be the slowest.
func (g *gateway) clicks(ctx context.Context, n int) (took []time.Duration, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex
	// A batch ends before the next begins, so at most atOnce logins run at a time.
	for len(took) < n && ctx.Err() == nil {
		var wg sync.WaitGroup
		for range min(atOnce, n-len(took)) {
			wg.Go(func() {
				after, err := g.click(ctx)
				if err != nil {
					cancel(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				took = append(took, after)
			})
		}
		wg.Wait()
	}
	return took, context.Cause(ctx)
}

// click performs one device login, from the first request to the tokens. It returns
// the time from the click to the tokens.
func (g *gateway) click(ctx context.Context) (time.Duration, error) {
	config := &oauth2.Config{ClientID: loadtest.Client, Endpoint: oauth2.Endpoint{
		TokenURL: g.issuer + "/oauth2/token", DeviceAuthURL: g.issuer + "/oauth2/device_authorization",
	}}
	asked, err := config.DeviceAuth(ctx)
	if err != nil {
		return 0, err
	}
	// The device polls while the person signs in, as devices do.
	answered := make(chan error, 1)
	go func() {
		_, err := config.DeviceAccessToken(ctx, asked)
		answered <- err
	}()
	person := loadtest.NewPerson()
	defer person.Close()
	if err := person.Reach(ctx, asked.VerificationURIComplete, asked.UserCode, "alice"); err != nil {
		return 0, err
	}
	// People click at any moment of a poll or of the pause after it.
	select {
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	case <-time.After(time.Second + rand.N(5*time.Second)):
	}
	// The click itself, a request and its response, is part of the time.
	clicked := time.Now()
	if err := person.Answer(ctx, "allow"); err != nil {
		return 0, err
	}
	err = <-answered
	return time.Since(clicked), err
}
