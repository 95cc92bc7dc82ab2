package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"net/http"
	"runtime"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/loadtest"
)

// connected starts a gateway with n connected devices in its store. It returns one API
// request of each device, and the token of the first.
func (b *bench) connected(ctx context.Context, n int, lines ...string) (g *gateway, requests [][]byte, token string,
	err error) {
	if g, err = b.newGateway(lines...); err != nil {
		return nil, nil, "", err
	}
	devices, err := loadtest.PrepareBadger(ctx, g.store, g.issuer, n, loadtest.Connected)
	if err != nil {
		return nil, nil, "", err
	}
	for _, d := range devices {
		requests = append(requests, loadtest.GuardedRequests(g.host, "/api/products", d.Access)...)
	}
	return g, requests, devices[0].Access, g.start(ctx, b.binary)
}

// measureGuard compares guarded requests with the same proxy without a guard. Each number
// of devices has its own gateway: cached grants of many devices slow down the garbage
// collector, and new tokens evict others from the cache.
func measureGuard(ctx context.Context, b *bench) (rows []row, err error) {
	caddy, err := b.startPlain(ctx, b.binary, http.StatusOK, nil)
	if err != nil {
		return nil, err
	}
	defer caddy.Stop()
	guards := []side{{name: "one token"}, {name: "tokens in turn"}, {name: "new tokens"}}
	token := ""
	for i, devices := range []int{1, b.sizes.tokens, b.sizes.cold} {
		g, requests, first, err := b.connected(ctx, devices)
		if err != nil {
			return nil, err
		}
		defer g.Stop()
		if devices != b.sizes.cold { // in the other cases the guard has the tokens in its cache
			if err := once(ctx, g, requests); err != nil {
				return nil, err
			}
		}
		guards[i].load, token = fixed(g.Server, g.host, requests...), first
	}
	// The proxy gets the same requests: it reads the token, too, and passes it on.
	proxy := loadtest.GuardedRequests(caddy.proxy, "/api/products", token)[0]
	forward := loadtest.GuardedRequests(caddy.forward, "/api/products", token)[0]
	// All sides run with one number of connections, then with the next.
	for _, conns := range b.conns {
		ran, err := b.compare(ctx, conns,
			side{name: "reverse_proxy", load: fixed(caddy.Server, caddy.proxy, proxy)},
			guards[0], guards[1], guards[2],
			side{name: "forward_auth", load: fixed(caddy.Server, caddy.forward, forward)})
		if err != nil {
			return nil, err
		}
		bare := ratio("reverse_proxy without a guard", "", conns, ran[0], ran[0], 0)
		// It is what the others are compared with, and has no base of its own.
		bare.base = loadtest.Spread{}
		rows = append(rows, bare,
			ratio("guarded, one token", "reverse_proxy", conns, ran[1], ran[0], 0.97),
			ratio("guarded, "+thousands(b.sizes.tokens)+" tokens in turn", "reverse_proxy", conns, ran[2], ran[0],
				0.95),
			coldRow(conns, ran[3], ran[0]),
			ratio("forward_auth to a server that always says yes", "reverse_proxy", conns, ran[4], ran[0], 0))
	}
	return rows, nil
}

// once sends each request once, so that the guard has seen all tokens. For a cached token
// it does not verify the signature, but only checks whether the grant is active.
func once(ctx context.Context, g *gateway, requests [][]byte) error {
	_, err := loadtest.Run(ctx, loadtest.Load{
		Addr: g.addr, Conns: 16, Device: loadtest.Once(http.StatusOK, requests...),
	})
	return err
}

// fixed returns a load that sends the requests to a host in turn, and expects status 200.
func fixed(s *loadtest.Server, host string, requests ...[]byte) loadtest.Load {
	return loadtest.Load{Addr: dialed(host), PID: s.PID, Device: loadtest.Fixed(http.StatusOK, requests...)}
}

// coldRow compares requests with new tokens with the best possible result: the time
// of the proxy without a guard, which uses all cores, plus that of one ES256
// verification on one core for each request.
func coldRow(conns int, cold, bare results) row {
	// cores are those of the machine, which client, backend and server share.
	verify, cores := verification(), float64(runtime.NumCPU())
	// A request takes cores/rate of CPU time in all processes, and the verification in
	// addition.
	bound := bare.each(func(r loadtest.Result) float64 {
		return 1 / (1/r.PerSecond() + verify.Seconds()/cores)
	})
	return row{
		what: "guarded, every token new", against: "reverse_proxy and one ES256 verification", conns: conns,
		unit: "×", value: loadtest.SpreadOf(loadtest.Ratios(cold.rates(), bound)), target: 0.80,
		rate: loadtest.SpreadOf(cold.rates()), base: loadtest.SpreadOf(bound),
		p99: loadtest.SpreadOf(cold.p99s()), cpu: cold.cpu(),
		note: "one ES256 verification takes " + verify.Round(time.Microsecond).String() + " of a core",
	}
}

// verification returns how long one core takes to verify an ES256 signature (RFC
// 7518 §3.4): the median of some hundred.
func verification() time.Duration {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err) // the system has no randomness
	}
	digest := sha256.Sum256([]byte("a token"))
	signature, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		panic(err)
	}
	// One after the other, so that they run on one core.
	took := make([]float64, 500)
	for i := range took {
		began := time.Now()
		if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], signature) {
			panic(errors.New("a signature that was just made does not verify"))
		}
		took[i] = float64(time.Since(began))
	}
	return time.Duration(loadtest.SpreadOf(took).Median)
}
