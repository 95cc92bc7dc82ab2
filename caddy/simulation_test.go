package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/redisstore"
	"github.com/deviceauth/caddy-deviceauth/internal/loadtest"
	"github.com/deviceauth/caddy-deviceauth/internal/redistest"
)

// How much is simulated. The figures of docs/capacity.md are measured with
// -simulated 100000 -simulation 30s.
var (
	simulated  = flag.Int("simulated", 300, "devices of the simulation, at two gateways and one Redis")
	simulation = flag.Duration("simulation", time.Second, "how long each part of the simulation takes")
	faster     = flag.Float64("faster", 3, "how much faster than real devices those of the simulation are")
)

// What a connected device does, and how many more wait for a person.
const (
	callEvery     = 5 * time.Minute
	refreshEvery  = 15 * time.Minute // the lifetime of an access token
	waitingPer    = 100              // connected devices for each that waits
	pollEvery     = 3500 * time.Millisecond
	authorizeEach = 10 * time.Minute // a new code, as long as no person comes
)

// A fleet are the connected devices of one gateway, and the codes that wait there.
type fleet struct {
	g    *gateway
	host string

	mu             sync.Mutex
	devices        []loadtest.Prepared
	calls, renewed int
	polls          *loadtest.Polls
}

// turn returns the next device in turn.
func (f *fleet) turn(counter *int) (int, loadtest.Prepared) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := *counter % len(f.devices)
	*counter++
	return i, f.devices[i]
}

// A caller of the API takes the devices in turn, each with the token it has by now.
type fleetCaller struct{ *fleet }

func (c fleetCaller) Next() []byte {
	_, d := c.turn(&c.calls)
	return loadtest.GuardedRequests(c.host, "/api/products", d.Access)[0]
}

func (fleetCaller) Check(status int, body []byte) error {
	if status != http.StatusOK {
		return loadtest.Wrong(status, body, "200")
	}
	return nil
}

// A fleetRefresher takes them in turn too.
type fleetRefresher struct {
	*fleet
	now int
}

func (r *fleetRefresher) Next() []byte {
	var d loadtest.Prepared
	r.now, d = r.turn(&r.renewed)
	return loadtest.RefreshRequest(r.host, d.Refresh)
}

func (r *fleetRefresher) Check(status int, body []byte) error {
	t, err := loadtest.ReadTokens(status, body)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.devices[r.now].Access, r.devices[r.now].Refresh = t.Access, t.Refresh
	return nil
}

// A part is one kind of request, with how many a second there are of it in all.
type part struct {
	name   string
	rate   float64
	device func(*fleet) func(int) loadtest.Device
}

// parts are the request mix of so many devices.
func parts(devices float64) []part {
	per := func(share float64, every time.Duration) float64 {
		return max(devices*share/every.Seconds()**faster, 20) // so many that a second has some of each
	}
	waiting := 1. / waitingPer
	return []part{
		{name: "API call", rate: per(1, callEvery), device: func(f *fleet) func(int) loadtest.Device {
			return func(int) loadtest.Device { return fleetCaller{fleet: f} }
		}},
		{name: "refresh", rate: per(1, refreshEvery), device: func(f *fleet) func(int) loadtest.Device {
			return func(int) loadtest.Device { return &fleetRefresher{fleet: f} }
		}},
		{name: "poll", rate: per(waiting, pollEvery), device: func(f *fleet) func(int) loadtest.Device {
			return f.polls.Device
		}},
		{name: "authorization", rate: per(waiting, authorizeEach), device: func(f *fleet) func(int) loadtest.Device {
			return loadtest.Fixed(http.StatusOK, loadtest.AuthorizeRequest(f.host))
		}},
	}
}

// A simulator measures what the gateways and Redis spend.
type simulator struct {
	t      *testing.T
	fleets []*fleet
	redis  *redis.Client
	server int // Redis's process
	idle   spent
}

// spent is what a run took of the gateways, and of Redis.
type spent struct {
	requests             int
	elapsed              time.Duration
	gateways, redis      time.Duration // CPU
	trips, commands      float64
	p99                  time.Duration // the worst of all parts
	waited               float64       // share of the polls that came later than they were to
	gatewayMiB, redisMiB float64
}

// info reads a number that Redis tells.
func (s *simulator) info(section, name string) float64 {
	s.t.Helper()
	text, err := s.redis.Info(s.t.Context(), section).Result()
	if err != nil {
		s.t.Fatal(err)
	}
	_, after, _ := strings.Cut(text, "\n"+name+":")
	value, _, _ := strings.Cut(after, "\r")
	n, err := strconv.ParseFloat(value, 64)
	if err != nil {
		s.t.Fatalf("INFO %s: %s is %q", section, name, value)
	}
	return n
}

func (s *simulator) cpu() (gateways, server time.Duration) {
	for _, f := range s.fleets {
		gateways += loadtest.UsageOf(f.g.cmd.Process.Pid).CPU
	}
	return gateways, loadtest.UsageOf(s.server).CPU
}

// play runs parts beside each other, each at half its rate at both gateways.
func (s *simulator) play(parts ...part) (r spent) {
	s.t.Helper()
	gateways, server := s.cpu()
	trips, commands := s.info("stats", "total_reads_processed"), s.info("stats", "total_commands_processed")
	began := time.Now()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, f := range s.fleets {
		f.polls.Waited()
		for _, p := range parts {
			wg.Go(func() {
				result, err := loadtest.Run(s.t.Context(), loadtest.Load{
					Addr: "127.0.0.1:" + f.host[len("localhost:"):], Conns: 8, Rate: p.rate / 2, Duration: *simulation,
					Device: p.device(f),
				})
				if err != nil {
					s.t.Errorf("%s: %v", p.name, err)
				}
				mu.Lock()
				defer mu.Unlock()
				r.requests, r.p99 = r.requests+result.Requests, max(r.p99, result.P99)
			})
		}
	}
	wg.Wait()
	if len(parts) == 0 {
		time.Sleep(*simulation) // what they take by themselves
	}
	r.elapsed = time.Since(began)
	gatewaysAfter, serverAfter := s.cpu()
	r.gateways, r.redis = gatewaysAfter-gateways, serverAfter-server
	r.trips = s.info("stats", "total_reads_processed") - trips
	r.commands = s.info("stats", "total_commands_processed") - commands
	for _, f := range s.fleets {
		r.waited = max(r.waited, f.polls.Waited())
		r.gatewayMiB = max(r.gatewayMiB, float64(f.g.resident())/1024)
	}
	r.redisMiB = s.info("memory", "used_memory") / (1 << 20)
	return r
}

// measurable is how many requests a second are enough to measure what each takes.
const measurable = 200

// alone runs one part, and leaves out what the gateways and Redis take without any. A part
// that is too seldom to be seen is run more often than in the mix.
func (s *simulator) alone(p part) spent {
	s.t.Helper()
	p.rate = max(p.rate, measurable)
	r := s.play(p)
	share := r.elapsed.Seconds() / s.idle.elapsed.Seconds()
	r.gateways = max(r.gateways-time.Duration(share*float64(s.idle.gateways)), 0)
	r.redis = max(r.redis-time.Duration(share*float64(s.idle.redis)), 0)
	r.trips, r.commands = max(r.trips-share*s.idle.trips, 0), max(r.commands-share*s.idle.commands, 0)
	return r
}

// cores are how many of them the gateways and Redis keep busy.
func (r spent) cores() float64 { return (r.gateways + r.redis).Seconds() / r.elapsed.Seconds() }

func (r spent) String() string {
	n := float64(max(r.requests, 1))
	return fmt.Sprintf("%.0f/s; of the gateways %.3f, of Redis %.3f CPU ms a request; %.2f round trips and %.2f "+
		"commands a request; p99 %v; %.0f MiB the larger gateway, %.0f MiB Redis", n/r.elapsed.Seconds(),
		r.gateways.Seconds()*1000/n, r.redis.Seconds()*1000/n, r.trips/n, r.commands/n, r.p99.Round(time.Microsecond),
		r.gatewayMiB, r.redisMiB)
}

// prepareFleets connects the devices, half of them at each gateway, by the rules: over
// HTTP each would take a person's requests.
func prepareFleets(t *testing.T, gateways []*gateway, address string, codes int) (fleets []*fleet) {
	store, err := redisstore.Open(t.Context(), redisstore.Options{URLs: []string{address}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	prepare := func(n int, to loadtest.Stage) []loadtest.Prepared {
		devices, err := loadtest.Prepare(context.Background(), store, gateways[0].url, n, to)
		if err != nil {
			t.Fatal(err)
		}
		return devices
	}
	for _, g := range gateways {
		f := &fleet{g: g, host: strings.TrimPrefix(g.url, "http://")}
		f.devices = prepare(*simulated/2, loadtest.Connected)
		f.polls = loadtest.NewPolls(f.host, time.Second, prepare(codes, loadtest.Pending))
		fleets = append(fleets, f)
	}
	return fleets
}

// proxyTo has a running gateway guard another API.
func (g *gateway) proxyTo(address string) {
	g.t.Helper()
	text, err := os.ReadFile(g.config)
	if err != nil {
		g.t.Fatal(err)
	}
	own := strings.TrimPrefix(g.legacy, "http://")
	changed := strings.Replace(string(text), "reverse_proxy /api/* "+own, "reverse_proxy /api/* "+address, 1)
	if err := os.WriteFile(g.config, []byte(changed), 0o600); err != nil {
		g.t.Fatal(err)
	}
	if out, err := g.reload(); err != nil || changed == string(text) {
		g.t.Fatal("the API is not another one: ", err, out)
	}
}

// What each kind of request takes by itself is what it takes in the mix: so the
// capacity of a larger fleet can be reckoned from it.
func TestCostsOfRequestsAddUp(t *testing.T) {
	server := redistest.Start(t, "--appendfsync", "everysec")
	gateways := startCluster(t, 2, "store redis "+server.URL()+
		"\n\t\twait off\n\t\tinterval 1s\n\t\tpending client 1000000")
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write(make([]byte, 1000))
	}))
	defer backend.Close()
	for _, g := range gateways { // the demo's API would be counted as the gateway's
		g.proxyTo(backend.Listener.Addr().String())
	}
	mix := parts(float64(*simulated))
	s := &simulator{t: t, redis: redis.NewClient(&redis.Options{Addr: server.Addr()})}
	defer s.redis.Close()
	s.server = int(s.info("server", "process_id"))
	began := time.Now()
	// A code is asked about once a second at most: so many that none has to wait.
	s.fleets = prepareFleets(t, gateways, server.URL(), int(max(mix[2].rate, measurable))+20)
	t.Logf("%d devices connected in %v; Redis has %.0f MiB", *simulated, time.Since(began).Round(time.Second/10),
		s.info("memory", "used_memory")/(1<<20))
	s.idle = s.play()
	t.Logf("without requests: %.3f cores, %.0f round trips a second", s.idle.cores(),
		s.idle.trips/s.idle.elapsed.Seconds())
	reckoned, rate := s.idle.cores(), 0.0
	for _, p := range mix {
		r := s.alone(p)
		t.Logf("%s: %v", p.name, r)
		reckoned += (r.gateways + r.redis).Seconds() / float64(r.requests) * p.rate
		rate += p.rate
	}
	r := s.play(mix...)
	took := r.cores()
	t.Logf("all, %g times as fast as real devices: %v", *faster, r)
	t.Logf("%.2f cores, reckoned %.2f; %.0f round trips a second", took, reckoned, r.trips/r.elapsed.Seconds())
	got := float64(r.requests) / r.elapsed.Seconds()
	if *simulated >= 10_000 && (got < 0.9*rate || took > 1.5*reckoned) {
		t.Errorf("%.0f of %.0f requests a second, %.2f cores, want at most half more than the %.2f of each alone", got,
			rate, took, reckoned)
	}
}
