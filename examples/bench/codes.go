package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/loadtest"
)

// example sends one request and returns status and body of the response, with which
// the plain Caddy is to respond.
func example(g *gateway, request []byte) (int, []byte, error) {
	c := &loadtest.Conn{Addr: g.addr}
	defer c.Close()
	status, body, err := c.Do(request)
	return status, append([]byte(nil), body...), err
}

// measureAuthorize compares device authorization requests with Caddy's directive
// respond and the same body. Each request creates a pending code, so a run leaves
// tens of thousands of them. The requests are the smallest that the RFC allows.
func measureAuthorize(ctx context.Context, b *bench) (rows []row, err error) {
	g, err := b.startGateway(ctx, "wait off")
	if err != nil {
		return nil, err
	}
	defer g.Stop()
	request := loadtest.AuthorizeRequest(g.host)
	status, body, err := example(g, request)
	if err != nil || status != http.StatusOK {
		return nil, fmt.Errorf("a device authorization request is answered %d %s: %w", status, body, err)
	}
	// The plain Caddy sends the same body, so that the size of the responses makes
	// no difference.
	caddy, err := b.startPlain(ctx, b.binary, status, body)
	if err != nil {
		return nil, err
	}
	defer caddy.Stop()
	for _, conns := range b.conns {
		ran, err := b.compare(ctx, conns,
			side{name: "respond", load: fixed(caddy.Server, caddy.static, loadtest.AuthorizeRequest(caddy.static))},
			side{name: "authorize", load: fixed(g.Server, g.host, request)})
		if err != nil {
			return nil, err
		}
		rows = append(rows,
			ratio("device authorization, Badger", "respond of the same body", conns, ran[1], ran[0], 0.65))
	}
	return rows, nil
}

// pollInterval is the configured interval of the codes that are polled. The devices
// keep to it: a poll that comes sooner is answered slow_down (RFC 8628 §3.5).
const pollInterval = 2 * time.Second

// measurePoll compares polls of pending codes with Caddy's directive respond and the same
// body. Polls are answered at once here; by default they are held, which costs memory but
// no CPU time.
func measurePoll(ctx context.Context, b *bench) (rows []row, err error) {
	g, err := b.newGateway("wait off", "interval "+pollInterval.String())
	if err != nil {
		return nil, err
	}
	codes, err := loadtest.PrepareBadger(ctx, g.store, g.issuer, b.sizes.codes, loadtest.Pending)
	if err != nil {
		return nil, err
	}
	if err := g.start(ctx, b.binary); err != nil {
		return nil, err
	}
	defer g.Stop()
	status, body, err := example(g, loadtest.PollRequest(g.host, codes[0].DeviceCode))
	if err != nil {
		return nil, err
	}
	caddy, err := b.startPlain(ctx, b.binary, status, body)
	if err != nil {
		return nil, err
	}
	defer caddy.Stop()
	// The first code has just been polled for the example, so it is left out.
	polls := loadtest.NewPolls(g.host, pollInterval, codes[1:])
	// The plain Caddy receives the same form, and ignores it.
	same := loadtest.Load{
		Addr: dialed(caddy.static), PID: caddy.PID,
		Device: loadtest.Fixed(status, loadtest.PollRequest(caddy.static, codes[0].DeviceCode)),
	}
	for _, conns := range b.conns {
		polls.Waited()
		ran, err := b.compare(ctx, conns, side{name: "respond", load: same},
			side{name: "poll", load: loadtest.Load{Addr: g.addr, PID: g.PID, Device: polls.Device}})
		if err != nil {
			return nil, err
		}
		r := ratio("pending poll of "+thousands(len(codes))+" codes, Badger", "respond of the same body", conns, ran[1],
			ran[0], 0.85)
		// If many polls had to wait, the codes limited the rate and not the server: more
		// codes are needed.
		if waited := polls.Waited(); waited > 0.01 {
			r.note = fmt.Sprintf("%.0f %% of the polls had to wait for their code's interval", 100*waited)
		}
		rows = append(rows, r)
	}
	return rows, nil
}
