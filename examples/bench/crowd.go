package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"

	"github.com/deviceauth/caddy-deviceauth/internal/loadtest"
)

// The rates of the two loads: guarded requests at a rate that does not use up the
// cores, and devices that begin a login.
const (
	crowdRequests = 1000 // guarded requests a second
	crowdDevices  = 1000 // devices a second that ask for a code, and poll once
)

// measureCrowd measures the p99 of guarded requests with and without devices that
// begin logins at the same gateway. Both loads have a fixed rate: connections that
// send the next request as soon as they have a response would send fewer requests to
// a slower server.
func measureCrowd(ctx context.Context, b *bench) ([]row, error) {
	g, requests, _, err := b.connected(ctx, 100, "wait off")
	if err != nil {
		return nil, err
	}
	defer g.Stop()
	guarded := fixed(g.Server, g.host, requests...)
	guarded.Conns, guarded.Rate, guarded.Duration = 16, crowdRequests, 2*b.duration
	// Each device is two requests.
	flows := loadtest.Load{Addr: g.addr, Conns: 32, Rate: 2 * crowdDevices, Duration: 2 * b.duration,
		Device: func(int) loadtest.Device { return &beginner{host: g.host} }}
	// Each round measures the same requests alone, and then together with the
	// devices.
	var calm, crowded, begun results
	for range b.rounds {
		alone, err := loadtest.Run(ctx, guarded)
		if err != nil {
			return nil, err
		}
		var crowd, beside loadtest.Result
		var crowdErr error
		var wg sync.WaitGroup
		wg.Go(func() { crowd, crowdErr = loadtest.Run(ctx, flows) })
		beside, err = loadtest.Run(ctx, guarded)
		wg.Wait()
		if err != nil {
			return nil, err
		}
		if crowdErr != nil {
			return nil, crowdErr
		}
		calm, crowded, begun = append(calm, alone), append(crowded, beside), append(begun, crowd)
	}
	return []row{crowdRow(calm, crowded, begun)}, nil
}

// crowdRow returns the row. Its note has the number of devices that actually began:
// on a machine that is too slow for all of them the figure would be too good.
func crowdRow(calm, crowded, begun results) row {
	rate := loadtest.SpreadOf(crowded.rates())
	return row{
		what:    fmt.Sprintf("p99 of a guarded request while %s devices a second begin", thousands(crowdDevices)),
		against: "the p99 without them", unit: "×", target: 1.5, atMost: true, conns: 16,
		value: loadtest.SpreadOf(loadtest.Ratios(crowded.p99s(), calm.p99s())), rate: rate,
		p99: loadtest.SpreadOf(crowded.p99s()),
		note: fmt.Sprintf("%s ms without; %.0f devices a second did begin",
			short(loadtest.SpreadOf(calm.p99s()).Median), loadtest.SpreadOf(begun.rates()).Median/2),
	}
}

// A beginner simulates devices one after the other: each requests a code, and polls
// it once.
type beginner struct {
	host string // of the gateway
	code string // to poll next; empty: another device begins
}

// Next implements [loadtest.Device].
func (d *beginner) Next() []byte {
	if d.code == "" {
		return loadtest.AuthorizeRequest(d.host)
	}
	return loadtest.PollRequest(d.host, d.code)
}

// Check implements [loadtest.Device].
func (d *beginner) Check(status int, body []byte) error {
	if d.code != "" {
		if d.code = ""; status != http.StatusBadRequest {
			return loadtest.Wrong(status, body, "400 authorization_pending (RFC 8628 §3.5)")
		}
		return nil
	}
	var answer struct {
		Code string `json:"device_code"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || status != http.StatusOK || answer.Code == "" {
		return loadtest.Wrong(status, body, "200 with a device code")
	}
	d.code = answer.Code
	return nil
}
