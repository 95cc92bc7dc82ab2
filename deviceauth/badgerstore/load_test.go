package badgerstore_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/badgerstore"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/keyring"
	"github.com/deviceauth/caddy-deviceauth/internal/needs"
)

// pending is the number of grants that wait at a time. The documented number is tested with
// -pending 1000000.
var pending = flag.Int("pending", 20_000, "pending grants")

var tv = deviceauth.Credentials{ClientID: "tv"}

// engineOn runs the protocol on a store.
func engineOn(t testing.TB, s deviceauth.Storage) *deviceauth.Engine {
	t.Helper()
	keys, err := keyring.Open(context.Background(), s, "")
	if err != nil {
		t.Fatal(err)
	}
	e, err := deviceauth.New(deviceauth.Config{
		Issuer: "https://api.example.com", Wait: -1, Store: s, Signer: keys,
		RefreshKey: keys.Source(keyring.PurposeRefresh),
		Clients:    []deviceauth.Client{{ID: "tv", Public: true, Scope: "openid offline_access read"}},
		Allow:      map[string][]deviceauth.Allow{"work": nil},
		Pending:    deviceauth.PendingLimits{PerAddress: 10_000_000, PerClient: 10_000_000, Total: 10_000_000},
		Lifetime:   deviceauth.Lifetime{DeviceCode: time.Hour},
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func openStore(t testing.TB, dir string) *badgerstore.Store {
	t.Helper()
	s, err := badgerstore.Open(badgerstore.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func authorize(t testing.TB, e *deviceauth.Engine) *deviceauth.Authorization {
	a, err := e.Authorize(context.Background(),
		deviceauth.AuthorizeRequest{Client: tv, From: netip.MustParseAddr("192.0.2.7")})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// pollsOf measures polls of codes in random order.
func pollsOf(t *testing.T, e *deviceauth.Engine, codes []string) (median, p99 time.Duration) {
	const polls = 20_000
	took := make([]time.Duration, polls)
	for i := range took {
		code := codes[rand.IntN(len(codes))]
		began := time.Now()
		_, err := e.Redeem(t.Context(), deviceauth.RedeemRequest{Client: tv, DeviceCode: code})
		took[i] = time.Since(began)
		if refusal := deviceauth.AsError(err); refusal == nil ||
			refusal.Code != "authorization_pending" && refusal.Code != "slow_down" {
			t.Fatal(err)
		}
	}
	slices.Sort(took)
	return took[polls/2], took[polls*99/100]
}

// Resident memory is measured in a process of its own: the race detector and stores that
// were given up hold hundreds of megabytes of earlier tests.
func TestManyPendingGrants(t *testing.T) {
	if !needs.OwnProcess(t, fmt.Sprintf("-pending=%d", *pending)) {
		return
	}
	dir := t.TempDir()
	s := openStore(t, dir)
	e := engineOn(t, s)
	codes := make([]string, 0, *pending)
	for range 1000 {
		codes = append(codes, authorize(t, e).DeviceCode.Reveal())
	}
	_, few := pollsOf(t, e, codes)
	began := time.Now()
	for len(codes) < *pending {
		codes = append(codes, authorize(t, e).DeviceCode.Reveal())
	}
	filled := time.Since(began)
	_, warm := pollsOf(t, e, codes)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	e = nil // and with it the store: the next process begins without them
	debug.FreeOSMemory()
	began = time.Now()
	e = engineOn(t, openStore(t, dir))
	start := time.Since(began)
	median, many := pollsOf(t, e, codes)
	resident := residentMiB(t)
	t.Logf("%d pending: filled in %v, start %v, %d MiB resident, %d MiB on disk; p99 of a poll %v with 1000, %v "+
		"before and %v after a restart (median %v)",
		len(codes), filled.Round(time.Millisecond), start.Round(time.Millisecond), resident, diskMiB(t, dir), few,
		warm, many, median)
	if start > 5*time.Second || resident > 1024 {
		t.Errorf("start %v, %d MiB resident", start, resident)
	}
}

func residentMiB(t *testing.T) int {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, resident int
	fmt.Sscan(string(text), &size, &resident)
	return resident * os.Getpagesize() >> 20
}

func diskMiB(t *testing.T, dir string) (sum int64) {
	files, err := filepath.Glob(dir + "/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if info, err := os.Stat(file); err == nil {
			sum += info.Size()
		}
	}
	return sum >> 20
}

const writers = 64

// spread runs b.N calls on 64 goroutines.
func spread(b *testing.B, do func(worker, i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for w := range writers {
		wg.Go(func() {
			for i := int(next.Add(1)); i <= b.N; i = int(next.Add(1)) {
				do(w, i-1)
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "op/s")
}

// The lower bound: Badger alone, with as many writers.
func BenchmarkSyncWrites(b *testing.B) {
	db, err := badger.Open(badger.DefaultOptions(b.TempDir()).WithSyncWrites(true).WithLogger(nil).
		WithMemTableSize(8 << 20))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	value := make([]byte, 800) // an active grant
	spread(b, func(w, i int) {
		err := db.Update(func(txn *badger.Txn) error {
			key := fmt.Appendf(nil, "g%14d", i)
			if _, err := txn.Get(key); err != badger.ErrKeyNotFound {
				return err
			}
			return txn.Set(key, value)
		})
		if err != nil {
			b.Error(err)
		}
	})
}

func BenchmarkRedeem(b *testing.B) {
	e := engineOn(b, openStore(b, b.TempDir()))
	codes := approved(b, e, b.N)
	spread(b, func(_, i int) {
		if _, err := e.Redeem(context.Background(),
			deviceauth.RedeemRequest{Client: tv, DeviceCode: codes[i]}); err != nil {
			b.Error(err)
		}
	})
}

func BenchmarkRefresh(b *testing.B) {
	e := engineOn(b, openStore(b, b.TempDir()))
	held := make([]string, writers)
	for w, code := range approved(b, e, writers) {
		tokens, err := e.Redeem(context.Background(), deviceauth.RedeemRequest{Client: tv, DeviceCode: code})
		if err != nil {
			b.Fatal(err)
		}
		held[w] = tokens.RefreshToken.Reveal()
	}
	spread(b, func(w, _ int) {
		tokens, err := e.Refresh(context.Background(), deviceauth.RefreshRequest{Client: tv, RefreshToken: held[w]})
		if err != nil {
			b.Error(err)
			return
		}
		held[w] = tokens.RefreshToken.Reveal()
	})
}

// approved returns device codes that were approved.
func approved(b *testing.B, e *deviceauth.Engine, n int) (codes []string) {
	alice := &deviceauth.Person{Subject: "work|1", Upstream: "work", User: "alice"}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for range n/writers + min(1, max(0, n%writers-w)) {
				a := authorize(b, e)
				g, err := e.Inspect(context.Background(), deviceauth.InspectRequest{Person: alice, Code: a.UserCode})
				if err != nil {
					b.Error(err)
					return
				}
				if _, err := e.Answer(context.Background(),
					deviceauth.AnswerRequest{Grant: g.ID, Allow: true, Person: alice,
						From: netip.MustParseAddr("192.0.2.7")}); err != nil {
					b.Error(err)
					return
				}
				mu.Lock()
				codes = append(codes, a.DeviceCode.Reveal())
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return codes
}
