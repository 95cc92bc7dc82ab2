package deviceauth

import (
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

func pendingFrom(n uint64, from netip.Addr, expires time.Time) *Grant {
	g := &Grant{State: Pending, ClientID: "tv", From: from, Created: noon, Expires: expires}
	binary.BigEndian.PutUint64(g.ID[:], n)
	return g
}

// After any sequence of calls the table agrees with a plain list of its entries, and
// only an entry of an address with the most entries is dropped.
//
// protocol 11
func TestPendingTableAgreesWithAList(t *testing.T) {
	for seed := range uint64(200) {
		testPendingTable(t, seed)
	}
}

// testPendingTable runs the random history of a seed.
func testPendingTable(t *testing.T, seed uint64) {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 8628))
	table, now := newPendingTable(), noon
	limits := PendingLimits{PerAddress: 4, PerClient: 12, Total: 16}
	here := map[ID]*Grant{}
	for n := range uint64(400) {
		now = now.Add(time.Duration(random.IntN(4)) * time.Second)
		maps.DeleteFunc(here, func(_ ID, g *Grant) bool { return g.Expires.Unix()+1 <= now.Unix() })
		if random.IntN(4) == 0 {
			for id := range here {
				table.release(id)
				delete(here, id)
				break
			}
			continue
		}
		address := netip.AddrFrom4([4]byte{192, 0, byte(random.IntN(random.IntN(9) + 1)), byte(random.IntN(3))})
		g := pendingFrom(n+1, address, now.Add(time.Duration(5+random.IntN(60))*time.Second))
		g.ClientID = []string{"tv", "meter"}[random.IntN(2)]
		client := g.ClientID // whose limit it is, or all's
		if waiting(here, client, nil) < limits.PerClient {
			client = ""
		}
		crowdedOut, wait := table.acquire(limits, g, now)
		if victim := here[crowdedOut]; victim != nil {
			if waiting(here, client, victim) <= waiting(here, client, g)+1 {
				t.Errorf("%v gave way to %v, who holds as many", victim.From, g.From)
			}
			delete(here, crowdedOut)
		}
		if wait == 0 {
			here[g.ID] = g
		}
		tvs, meters := waiting(here, "tv", nil), waiting(here, "meter", nil)
		if table.count(now) != len(here) || len(here) > limits.Total || max(tvs, meters) > limits.PerClient {
			t.Fatalf("in run %d: %d in the table, %d in the list", seed, table.count(now), len(here))
		}
	}
	now = now.Add(time.Hour)
	if table.count(now) != 0 || len(table.grants)+len(table.networks)+len(table.clients) != 0 {
		t.Fatalf("in run %d something is left", seed)
	}
	if len(table.all.networks)+len(table.all.most) != 0 {
		t.Fatalf("in run %d somebody holds nothing", seed)
	}
}

// waiting is how many there are of a client, or of all for "", in the network of
// a grant, or anywhere.
func waiting(here map[ID]*Grant, client string, around *Grant) (n int) {
	for _, g := range here {
		if (client == "" || g.ClientID == client) && (around == nil || site(g.From) == site(around.From)) {
			n++
		}
	}
	return n
}

// With 200,000 that wait a request still takes microseconds: it would take
// minutes if each looked at all of them.
//
// protocol 11
func TestPendingTableIsQuickWhenItIsFull(t *testing.T) {
	var limits PendingLimits
	limits.fill()
	all := uint64(400_000)
	if testing.Short() {
		all /= 4
	}
	limits.Total = int(all / 2)
	limits.PerClient = limits.Total
	table, began := newPendingTable(), time.Now()
	crowdedOut := 0
	for n := range all {
		raw := [16]byte{0x20, 0x01, 0x0d, 0xb8, byte(n % 100), 0, byte(n >> 8), byte(n)} // a hundred /48
		if n >= all/2 {
			raw = [16]byte{0x2a, 0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)} // and then strangers
		}
		id, _ := table.acquire(limits, pendingFrom(n+1, netip.AddrFrom16(raw), noon.Add(10*time.Minute)), noon)
		if id != (ID{}) {
			crowdedOut++
		}
	}
	took := time.Since(began)
	t.Logf("%v for each of %d; %d gave way", took/time.Duration(all), all, crowdedOut)
	if took > 20*time.Second {
		t.Errorf("%d requests took %v", all, took)
	}
	if n := table.count(noon); n != limits.Total {
		t.Errorf("%d wait, want %d", n, limits.Total)
	}
}

func BenchmarkPendingTableIsFull(b *testing.B) {
	var limits PendingLimits
	limits.fill()
	limits.PerClient = limits.Total
	table := newPendingTable()
	address := func(n uint64) netip.Addr {
		raw := [16]byte{0x20, 0x01}
		binary.BigEndian.PutUint32(raw[2:], uint32(n%100_000))
		binary.BigEndian.PutUint16(raw[6:], uint16(n))
		return netip.AddrFrom16(raw)
	}
	for n := range uint64(200_000) {
		table.acquire(limits, pendingFrom(n+1, address(n), noon.Add(10*time.Minute)), noon)
	}
	n := uint64(200_000)
	for b.Loop() {
		n++
		g := pendingFrom(n, address(50_000+n), noon.Add(10*time.Minute))
		table.acquire(limits, g, noon)
	}
}
