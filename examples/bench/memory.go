package main

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"

	"github.com/deviceauth/caddy-deviceauth/internal/loadtest"
)

// resident returns the memory of a process after it has collected its garbage, in
// bytes.
func resident(ctx context.Context, s *loadtest.Server, admin string) (float64, error) {
	// The profile is not read: with gc=1 the request makes the process collect its
	// garbage.
	r, err := http.NewRequestWithContext(ctx, "GET", "http://"+admin+"/debug/pprof/heap?gc=1", nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	response.Body.Close()
	return float64(loadtest.UsageOf(s.PID).RSS), nil
}

// measurePending measures how much memory each pending code adds to the process,
// between a tenth of the codes and all of them, so that neither the start nor the
// first connections are included.
func measurePending(ctx context.Context, b *bench) ([]row, error) {
	g, err := b.startGateway(ctx, "wait off")
	if err != nil {
		return nil, err
	}
	defer g.Stop()
	// 16 connections are open both times.
	few := b.sizes.pending / 10
	var at [2]float64 // bytes, with few codes and with all
	for i, n := range []int{few, b.sizes.pending - few} {
		_, err := loadtest.Run(ctx, loadtest.Load{
			Addr: g.addr, Conns: 16,
			Device: loadtest.Once(http.StatusOK, repeat(loadtest.AuthorizeRequest(g.host), n)...),
		})
		if err != nil {
			return nil, err
		}
		if at[i], err = resident(ctx, g.Server, g.admin); err != nil {
			return nil, err
		}
	}
	each := (at[1] - at[0]) / float64(b.sizes.pending-few) / 1024
	return []row{{
		what: "memory of a code that waits, " + thousands(b.sizes.pending) + " of them", unit: "KiB",
		target: 1.5, atMost: true,
		value: loadtest.Spread{Median: each, Min: each, Max: each},
		note:  fmt.Sprintf("the whole process: %s MiB", short(at[1]/(1<<20))),
	}}, nil
}

// measureStart compares a gateway whose store has active grants with a plain Caddy: how
// long each takes from the start of its process to the first response, and its memory
// without requests. Both binaries are without the demo, as in production.
func measureStart(ctx context.Context, b *bench) ([]row, error) {
	bare, module, err := b.production(ctx)
	if err != nil {
		return nil, err
	}
	g, err := b.newGateway()
	if err != nil {
		return nil, err
	}
	if _, err := loadtest.PrepareBadger(ctx, g.store, g.issuer, b.sizes.active, loadtest.Connected); err != nil {
		return nil, err
	}
	// The memory is measured with a gateway without grants.
	empty, err := b.newGateway()
	if err != nil {
		return nil, err
	}
	var later, more []float64 // milliseconds, MiB
	// Each round starts all three anew, on the same directories.
	for range b.rounds {
		caddy, err := b.startPlain(ctx, bare, http.StatusOK, nil)
		if err != nil {
			return nil, err
		}
		caddyMemory := float64(loadtest.UsageOf(caddy.PID).RSS)
		caddy.Stop()
		if err := g.start(ctx, module); err != nil {
			return nil, err
		}
		g.Stop()
		if err := empty.start(ctx, module); err != nil {
			return nil, err
		}
		memory := float64(loadtest.UsageOf(empty.PID).RSS)
		empty.Stop()
		later = append(later, milliseconds(g.Started-caddy.Started))
		more = append(more, (memory-caddyMemory)/(1<<20))
	}
	return []row{
		{what: "start with " + thousands(b.sizes.active) + " active grants, later by", against: "plain Caddy",
			unit: "ms", value: loadtest.SpreadOf(later), target: 300, atMost: true},
		{what: "memory of an idle gateway, more by", against: "plain Caddy",
			unit: "MiB", value: loadtest.SpreadOf(more), target: 40, atMost: true},
	}, nil
}

// production builds the two binaries of a comparison: Caddy with its standard modules,
// and the same with the device login. Both are stripped, like those of xcaddy.
func (b *bench) production(ctx context.Context) (bare, module string, err error) {
	bare, module = filepath.Join(b.dir, "caddy-plain"), filepath.Join(b.dir, "caddy-module")
	// Another section may have built them.
	if loadtest.DiskUsage(module) > 0 {
		return bare, module, nil
	}
	if err := b.buildWith(ctx, bare, caddyModules); err != nil {
		return "", "", err
	}
	return bare, module, b.buildWith(ctx, module, caddyModules, modulePath+"/caddymodule")
}
