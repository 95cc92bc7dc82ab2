package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/loadtest"
)

// example asks one request and returns the body of the answer, for the floor to
// respond with.
func example(g *gateway, request []byte) (int, []byte, error) {
	c := &loadtest.Conn{Addr: g.addr}
	defer c.Close()
	status, body, err := c.Do(request)
	return status, append([]byte(nil), body...), err
}

// measureAuthorize compares device authorization requests with a respond of the same
// body. Each makes a code that waits, so a run leaves tens of thousands of them. The
// requests are the smallest that the RFC allows.
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
	// The floor says the same, so that the bytes on the wire are no difference.
	floor, err := b.startPlain(ctx, b.binary, status, body)
	if err != nil {
		return nil, err
	}
	defer floor.Stop()
	for _, conns := range b.conns {
		ran, err := b.compare(ctx, conns,
			side{name: "respond", load: fixed(floor.Server, floor.static, loadtest.AuthorizeRequest(floor.static))},
			side{name: "authorize", load: fixed(g.Server, g.host, request)})
		if err != nil {
			return nil, err
		}
		rows = append(rows,
			ratio("device authorization, Badger", "respond of the same body", conns, ran[1], ran[0], 0.65))
	}
	return rows, nil
}

// pollInterval is the interval of the codes that are polled. It is configured, and
// kept: a poll that comes sooner is answered slow_down (RFC 8628 §3.5).
const pollInterval = 2 * time.Second

// measurePoll compares polls of codes that wait with a respond of the same body. A poll is
// answered at once here; by default it is held, which costs memory and no time of a core.
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
	floor, err := b.startPlain(ctx, b.binary, status, body)
	if err != nil {
		return nil, err
	}
	defer floor.Stop()
	// The first was asked about already, for the example, and keeps its interval too.
	polls := loadtest.NewPolls(g.host, pollInterval, codes[1:])
	// The floor reads the same form, and does not look at it.
	same := loadtest.Load{
		Addr: dialed(floor.static), PID: floor.PID,
		Device: loadtest.Fixed(status, loadtest.PollRequest(floor.static, codes[0].DeviceCode)),
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
		// Then it is the codes that were measured, and more of them are needed.
		if waited := polls.Waited(); waited > 0.01 {
			r.note = fmt.Sprintf("%.0f %% of the polls had to wait for their code's interval", 100*waited)
		}
		rows = append(rows, r)
	}
	return rows, nil
}
