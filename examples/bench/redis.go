package main

import (
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/redisstore"
	"github.com/deviceauth/caddy-deviceauth/internal/loadtest"
)

// measureRedis counts the round trips between one gateway and Redis for one request of
// each kind. It is skipped if no Redis is installed.
func measureRedis(ctx context.Context, b *bench) ([]row, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		fmt.Fprintln(b.out, "redis: left out, because redis-server is not installed")
		return nil, nil
	}
	dir, err := b.directory()
	if err != nil {
		return nil, err
	}
	server, address, err := loadtest.StartRedis(ctx, program, dir)
	if err != nil {
		return nil, err
	}
	defer server.Stop()
	g, err := b.newGateway("wait off", "interval 1s", "store redis redis://"+address)
	if err != nil {
		return nil, err
	}
	store, err := redisstore.Open(ctx, redisstore.Options{URLs: []string{"redis://" + address}}, nil)
	if err != nil {
		return nil, err
	}
	defer store.Close()
	const each = 1000 // requests of each kind
	waiting, err := loadtest.Prepare(ctx, store, g.issuer, each, loadtest.Pending)
	if err != nil {
		return nil, err
	}
	// One device calls the API repeatedly: its grant is cached after the first call.
	connected, err := loadtest.Prepare(ctx, store, g.issuer, 1, loadtest.Connected)
	if err != nil {
		return nil, err
	}
	// The store is closed, because its commands would be counted as the gateway's.
	if err := store.Close(); err != nil {
		return nil, err
	}
	if err := g.start(ctx, b.binary); err != nil {
		return nil, err
	}
	defer g.Stop()
	client := redis.NewClient(&redis.Options{Addr: address})
	defer client.Close()
	m := meter{client: client, gateway: g, each: each}
	return m.rows(ctx, waiting, connected[0])
}

// A meter reads Redis's own counters before and after runs. They include the gateway's
// background commands and the meter's own INFO, which are few compared with the
// requests.
type meter struct {
	client  *redis.Client // for INFO
	gateway *gateway      // the only other client
	each    int           // requests of each kind
	idle    float64       // round trips a second without any request
}

// rows measures each kind of request.
func (m *meter) rows(ctx context.Context, waiting []loadtest.Prepared, device loadtest.Prepared) ([]row, error) {
	host := m.gateway.host
	if err := m.measureIdle(ctx); err != nil {
		return nil, err
	}
	authorize := repeat(loadtest.AuthorizeRequest(host), m.each)
	guarded := repeat(loadtest.GuardedRequests(host, "/api/products", device.Access)[0], m.each)
	runs := []struct {
		what   string // of the row
		device func(int) loadtest.Device
		target float64 // round trips at most; 0: none
	}{
		{"device authorization over Redis", loadtest.Once(http.StatusOK, authorize...), 2},
		{"first poll of a code of another gateway's, over Redis", onePollEach(host, waiting), 0},
		{"pending poll over Redis, later", onePollEach(host, waiting), 1},
		{"guarded request over Redis", loadtest.Once(http.StatusOK, guarded...), 0.01},
	}
	var rows []row
	for _, run := range runs {
		time.Sleep(time.Second) // the codes' interval
		trips, commands, err := m.run(ctx, run.device)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", run.what, err)
		}
		// There are no rounds: what is counted does not depend on the machine's load.
		rows = append(rows, row{
			what: run.what, against: "Redis's total_reads_processed", unit: "trips", target: run.target, atMost: true,
			value: loadtest.Spread{Median: trips, Min: trips, Max: trips},
			note:  fmt.Sprintf("%s Redis commands a request, also those of scripts", short(commands)),
		})
	}
	return rows, nil
}

// repeat returns a list of n times the same request.
func repeat(request []byte, n int) (list [][]byte) {
	for range n {
		list = append(list, request)
	}
	return list
}

// onePollEach returns devices that poll every code once. In a second run the gateway has
// the codes in its cache, like codes that it issued itself.
func onePollEach(host string, devices []loadtest.Prepared) func(int) loadtest.Device {
	var list [][]byte
	for _, d := range devices {
		list = append(list, loadtest.PollRequest(host, d.DeviceCode))
	}
	return loadtest.Once(http.StatusBadRequest, list...)
}

// measureIdle measures the round trips per second of a gateway without requests, such as the
// heartbeats of its subscription, so that they can be subtracted.
func (m *meter) measureIdle(ctx context.Context) error {
	const pause = 2 * time.Second // some heartbeats
	before, _, err := m.counts(ctx)
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(pause):
	}
	after, _, err := m.counts(ctx)
	m.idle = (after - before) / pause.Seconds()
	return err
}

// run runs a load, and returns the round trips and commands of each request.
func (m *meter) run(ctx context.Context, device func(int) loadtest.Device) (trips, commands float64, err error) {
	before, asked, err := m.counts(ctx)
	if err != nil {
		return 0, 0, err
	}
	result, err := loadtest.Run(ctx, loadtest.Load{Addr: m.gateway.addr, Conns: 4, Device: device})
	if err != nil {
		return 0, 0, err
	}
	after, askedAfter, err := m.counts(ctx)
	idle := m.idle * result.Elapsed.Seconds()
	// A negative result means that there were fewer than without requests, and
	// counts as 0.
	n := float64(result.Requests)
	return max(after-before-idle, 0) / n, max(askedAfter-asked-idle, 0) / n, err
}

// counts returns the round trips and the commands that Redis has counted. A round
// trip is one read from a client, however many commands that has.
func (m *meter) counts(ctx context.Context) (trips, commands float64, err error) {
	info, err := m.client.Info(ctx, "stats").Result()
	if err != nil {
		return 0, 0, err
	}
	if trips, err = counter(info, "total_reads_processed"); err != nil {
		return 0, 0, err
	}
	commands, err = counter(info, "total_commands_processed")
	return trips, commands, err
}

// counter reads one line of INFO.
func counter(info, name string) (float64, error) {
	_, after, found := strings.Cut("\n"+info, "\n"+name+":")
	value, _, _ := strings.Cut(after, "\r")
	if !found {
		return 0, fmt.Errorf("this Redis does not tell %s", name)
	}
	return strconv.ParseFloat(value, 64)
}
