package badgerstore

import (
	"math"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/storetest"
)

// setField gives a field of a grant another value than a new grant has.
func setField(t *testing.T, field reflect.Value) {
	t.Helper()
	switch field.Kind() {
	case reflect.String:
		field.SetString("x")
	case reflect.Pointer:
		field.Set(reflect.New(field.Type().Elem()))
	case reflect.Struct:
		switch field.Type() {
		case reflect.TypeFor[time.Time]():
			field.Set(reflect.ValueOf(time.Unix(1, 0).UTC()))
		case reflect.TypeFor[netip.Addr](): // covered by the test's table
		default:
			t.Errorf("the test does not know how to set a %v", field.Type())
		}
	case reflect.Int:
		field.SetInt(1)
	case reflect.Bool:
		field.SetBool(true)
	case reflect.Slice:
		field.Set(reflect.MakeSlice(field.Type(), 1, 1))
	case reflect.Array:
		field.Index(0).SetUint(1)
	default:
		t.Errorf("the test does not know how to set a %v", field.Type())
	}
}

func TestCompactGrantRoundTrips(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*deviceauth.Grant)
		whole  bool
	}{
		{"as devices ask", func(*deviceauth.Grant) {}, false},
		{"with a place, a label and a challenge", func(g *deviceauth.Grant) {
			g.Place, g.Label, g.Challenge = "Oslo", "den", deviceauth.Digest{1}
		}, false},
		{"IPv4", func(g *deviceauth.Grant) { g.From = netip.MustParseAddr("192.0.2.1") }, false},
		{"IPv4 in IPv6", func(g *deviceauth.Grant) { g.From = netip.MustParseAddr("::ffff:192.0.2.1") }, false},
		{"a zone", func(g *deviceauth.Grant) { g.From = netip.MustParseAddr("fe80::1%eth0") }, true},
		{"no address", func(g *deviceauth.Grant) { g.From = netip.Addr{} }, false},
		{"no audience", func(g *deviceauth.Grant) { g.Audience = nil }, false},
		{"an empty audience", func(g *deviceauth.Grant) { g.Audience = []string{} }, false},
		{"a long label", func(g *deviceauth.Grant) { g.Label = strings.Repeat("x", 1<<17) }, true},
		{"another time zone", func(g *deviceauth.Grant) { g.Created = g.Created.In(time.FixedZone("", 3600)) }, true},
		{"a time before all", func(g *deviceauth.Grant) { g.Created = time.Time{} }, true},
		{"many changes", func(g *deviceauth.Grant) { g.Revision = math.MaxInt }, math.MaxInt > math.MaxInt32},
	}
	last := newCompactGrant(storetest.NewGrant("BCDFGHJK"), nil).shared
	for i := range reflect.TypeFor[deviceauth.Grant]().NumField() { // a new field must not get lost
		g := storetest.NewGrant("BCDFGHJK")
		setField(t, reflect.ValueOf(g).Elem().Field(i))
		c := newCompactGrant(g, last)
		if got := c.grant(); !reflect.DeepEqual(got, g) {
			t.Errorf("got %+v, want %+v", got, g)
		}
	}
	for _, test := range tests {
		g := storetest.NewGrant("BCDFGHJK")
		test.change(g)
		c := newCompactGrant(g, last)
		if got := c.grant(); !reflect.DeepEqual(got, g) || c.userCode() != g.UserCode {
			t.Errorf("%s: got %+v, want %+v", test.name, got, g)
		}
		if whole := c.full != nil; whole != test.whole {
			t.Errorf("%s: kept whole: %v", test.name, whole)
		}
	}
}
