package limit

import (
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

var noon = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

func requestFrom(n uint64, from netip.Addr, expires time.Time) Request {
	r := Request{Client: "tv", From: from, Expires: expires}
	binary.BigEndian.PutUint64(r.ID[:], n)
	return r
}

// After any sequence of calls a Pending agrees with a plain list of its requests, and
// only an entry of an address with the most entries is dropped.
//
// protocol 11
func TestPendingAgreesWithAList(t *testing.T) {
	for seed := range uint64(200) {
		testPending(t, seed)
	}
}

// testPending runs the random history of a seed.
func testPending(t *testing.T, seed uint64) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 8628))
	pending, now := NewPending(), noon
	limits := PendingLimits{PerAddress: 4, PerClient: 12, Total: 16}
	here := map[[16]byte]*Request{}
	for n := range uint64(400) {
		now = now.Add(time.Duration(random.IntN(4)) * time.Second)
		maps.DeleteFunc(here, func(_ [16]byte, r *Request) bool { return r.Expires.Unix()+1 <= now.Unix() })
		if random.IntN(4) == 0 {
			for id := range here {
				pending.Release(id)
				delete(here, id)
				break
			}
			continue
		}
		address := netip.AddrFrom4([4]byte{192, 0, byte(random.IntN(random.IntN(9) + 1)), byte(random.IntN(3))})
		g := requestFrom(n+1, address, now.Add(time.Duration(5+random.IntN(60))*time.Second))
		g.Client = []string{"tv", "meter"}[random.IntN(2)]
		client := g.Client // whose limit it is, or all's
		if waiting(here, client, nil) < limits.PerClient {
			client = ""
		}
		crowdedOut, wait := pending.Acquire(limits, g, now)
		if victim := here[crowdedOut]; victim != nil {
			if waiting(here, client, victim) <= waiting(here, client, &g)+1 {
				t.Errorf("%v gave way to %v, who holds as many", victim.From, g.From)
			}
			delete(here, crowdedOut)
		}
		if wait == 0 {
			here[g.ID] = &g
		}
		tvs, meters := waiting(here, "tv", nil), waiting(here, "meter", nil)
		if pending.Count(now) != len(here) || len(here) > limits.Total || max(tvs, meters) > limits.PerClient {
			t.Fatalf("in run %d: %d wait, %d in the list", seed, pending.Count(now), len(here))
		}
	}
	now = now.Add(time.Hour)
	if pending.Count(now) != 0 || len(pending.requests)+len(pending.networks)+len(pending.clients) != 0 {
		t.Fatalf("in run %d something is left", seed)
	}
	if len(pending.all.networks)+len(pending.all.most) != 0 {
		t.Fatalf("in run %d a network without requests is left", seed)
	}
}

// waiting is how many there are of a client, or of all for "", in the network of
// a grant, or anywhere.
func waiting(here map[[16]byte]*Request, client string, around *Request) (n int) {
	for _, g := range here {
		if (client == "" || g.Client == client) && (around == nil || site(g.From) == site(around.From)) {
			n++
		}
	}
	return n
}

// With 200,000 that wait a request still takes microseconds: it would take
// minutes if each looked at all of them.
//
// protocol 11
func TestPendingIsQuickWhenItIsFull(t *testing.T) {
	limits := PendingLimits{PerAddress: 500, PerClient: 100_000, Total: 200_000}
	all := uint64(400_000)
	if testing.Short() {
		all /= 4
	}
	limits.Total = int(all / 2)
	limits.PerClient = limits.Total
	pending, began := NewPending(), time.Now()
	crowdedOut := 0
	for n := range all {
		raw := [16]byte{0x20, 0x01, 0x0d, 0xb8, byte(n % 100), 0, byte(n >> 8), byte(n)} // a hundred /48
		if n >= all/2 {
			raw = [16]byte{0x2a, 0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)} // and then strangers
		}
		id, _ := pending.Acquire(limits, requestFrom(n+1, netip.AddrFrom16(raw), noon.Add(10*time.Minute)), noon)
		if id != ([16]byte{}) {
			crowdedOut++
		}
	}
	took := time.Since(began)
	t.Logf("%v for each of %d; %d gave way", took/time.Duration(all), all, crowdedOut)
	if took > 20*time.Second {
		t.Errorf("%d requests took %v", all, took)
	}
	if n := pending.Count(noon); n != limits.Total {
		t.Errorf("%d wait, want %d", n, limits.Total)
	}
}

func BenchmarkPendingIsFull(b *testing.B) {
	limits := PendingLimits{PerAddress: 500, PerClient: 100_000, Total: 200_000}
	limits.PerClient = limits.Total
	pending := NewPending()
	address := func(n uint64) netip.Addr {
		raw := [16]byte{0x20, 0x01}
		binary.BigEndian.PutUint32(raw[2:], uint32(n%100_000))
		binary.BigEndian.PutUint16(raw[6:], uint16(n))
		return netip.AddrFrom16(raw)
	}
	for n := range uint64(200_000) {
		pending.Acquire(limits, requestFrom(n+1, address(n), noon.Add(10*time.Minute)), noon)
	}
	n := uint64(200_000)
	for b.Loop() {
		n++
		g := requestFrom(n, address(50_000+n), noon.Add(10*time.Minute))
		pending.Acquire(limits, g, noon)
	}
}
