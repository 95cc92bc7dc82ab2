package deviceauth_test

import (
	"encoding/json"
	"reflect"
	"runtime"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// remembered is a grant as a store decodes it.
func remembered(t *testing.T) *deviceauth.Grant {
	t.Helper()
	now := time.Unix(1_800_000_000, 0).UTC()
	g := &deviceauth.Grant{
		ID: deviceauth.ID{1}, Revision: 3, State: deviceauth.Active, ClientID: "tv", UserCode: "DFGH",
		Scope: "openid read", Audience: []string{"https://api.example.com", "https://other.example.com"},
		Nonce: "n", Redirect: "http://127.0.0.1/",
		Place: "the office", Label: "TV", Name: "Living room", Created: now, Expires: now, Reason: "none",
		Refresh: &deviceauth.Refresh{Current: deviceauth.Digest{2}, Rotated: now, Idle: now, Until: now},
		Person: &deviceauth.Person{Subject: "work|1", Upstream: "work", User: "alice", Session: "s", Fresh: "BCDF",
			AuthTime: now, Withheld: []string{"picture"}, Claims: deviceauth.Claims{
				"name": "Alice", "email": "", "number": json.Number("12345678901234567890"), "email_verified": true,
				"groups": []any{"a", "", "bc"}, "mixed": []any{"a", json.Number("1"), nil}, "none": nil,
				"empty":   []any{},
				"address": map[string]any{"country": "DE"},
			}},
	}
	record, err := json.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	decoded := new(deviceauth.Grant)
	if err := json.Unmarshal(record, decoded); err != nil {
		t.Fatal(err)
	}
	return decoded
}

func TestCompactGrantIsTheSame(t *testing.T) {
	t.Parallel()
	var c deviceauth.Compactor
	for range 2 { // the second call finds the shared values
		g := remembered(t)
		if got := c.Compact(g); !reflect.DeepEqual(got, g) {
			t.Errorf("got %+v of %+v, want %+v of %+v", got, got.Person, g, g.Person)
		}
		g.Person, g.Refresh = nil, nil
		if got := c.Compact(g); !reflect.DeepEqual(got, g) {
			t.Errorf("got %+v, want %+v", got, g)
		}
	}
	// What the original becomes later is not the copy's.
	g := remembered(t)
	copied := c.Compact(g)
	g.Refresh.Current, g.Person.User = deviceauth.Digest{9}, "mallory"
	if copied.Refresh.Current == g.Refresh.Current || copied.Person.User == g.Person.User {
		t.Error("the copy is changed with its original")
	}
}

// More clients than are kept as common are served as well.
func TestCompactorIsBounded(t *testing.T) {
	t.Parallel()
	var c deviceauth.Compactor
	for i := range 3000 {
		g := remembered(t)
		g.ClientID = time.Duration(i).String()
		g.Audience = []string{g.ClientID}
		if got := c.Compact(g); got.ClientID != g.ClientID || got.Audience[0] != g.ClientID {
			t.Fatalf("%d: %+v", i, got)
		}
	}
}

// objects returns how many objects in memory a value has on average.
func objects(t *testing.T, value func() any) float64 {
	t.Helper()
	const n = 2000
	kept := make([]any, n)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range kept {
		kept[i] = value()
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(kept)
	return float64(after.HeapObjects-before.HeapObjects) / n
}

// It is not parallel, because it counts objects in memory.
func TestCompactGrantHasFewObjects(t *testing.T) {
	var c deviceauth.Compactor
	usual := func() *deviceauth.Grant {
		g := remembered(t)
		g.Person.Withheld = nil
		for _, unusual := range []string{"mixed", "none", "empty", "address", "number"} {
			delete(g.Person.Claims, unusual)
		}
		return g
	}
	decoded := objects(t, func() any { return usual() })
	compact := objects(t, func() any { return c.Compact(usual()) })
	if compact > decoded/2 {
		t.Errorf("%.1f objects as decoded, %.1f compact: want half at most", decoded, compact)
	}
}
