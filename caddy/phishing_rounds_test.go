package main

import (
	"flag"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/upstreamidp/idptest"
)

var victims = flag.Int("victims", 3, "people that each kind of attacker talks into a code")

// An attacker asks for a code from an address, and has a victim at another one
// approve it. The address is what the gateway is told in X-Forwarded-For.
//
//	attacker, victim: what the proxy in front of the gateway adds: the address it saw
//	claimed:          what the attacker's device has sent as X-Forwarded-For itself
var attackers = []struct {
	name, attacker, victim string
	claimed                string
}{
	{name: "another address", attacker: "192.0.2.66", victim: "198.51.100.7"},
	{name: "another address of the same /24", attacker: "198.51.100.8", victim: "198.51.100.7"},
	{name: "another /64", attacker: "2001:db8:1:2::66", victim: "2001:db8:1:1::7"},
	{name: "a NAT64 of the well-known prefix", attacker: "64:ff9b::192.0.2.66", victim: "64:ff9b::198.51.100.7"},
	{name: "a NAT64 of the operator's", attacker: "2001:db8:64::192.0.2.66", victim: "2001:db8:64::198.51.100.7"},
	{name: "6to4", attacker: "2002:c000:0242:1::1", victim: "2002:c633:6407:1::1"},
	{name: "an IPv4 address as IPv6", attacker: "::ffff:192.0.2.66", victim: "::ffff:198.51.100.7"},
	{name: "one Teredo server", attacker: "2001:0:4136:e378:8000:63bf:3fff:fd42",
		victim: "2001:0:4136:e378:8000:63bf:39cc:9b07"},
	{name: "an IPv4 address in the oldest form", attacker: "::192.0.2.66", victim: "::198.51.100.7"},
	{name: "outside a home of two families", attacker: "192.0.2.66", victim: "2001:db8:77::9"},
	{name: "another home of two families", attacker: "203.0.113.20", victim: "2001:db8:77::9"},
	{name: "a proxy that appends", attacker: "192.0.2.66", victim: "198.51.100.7", claimed: "198.51.100.7"},
	{name: "a proxy that appends, and a list", attacker: "192.0.2.66", victim: "198.51.100.7",
		claimed: "198.51.100.7, 127.0.0.1"},
}

// honest are a device and its person in one network.
var honest = []struct{ name, device, person string }{
	{"one address", "198.51.100.7", "198.51.100.7"},
	{"one /64", "2001:db8:1:1::7", "2001:db8:1:1:aaaa::1"},
	{"IPv4 television, IPv6 telephone", "203.0.113.7", "2001:db8:77::9"},
	{"IPv6 television, IPv4 telephone", "2001:db8:77:ff::1", "203.0.113.7"},
	{"behind the well-known NAT64 and without", "64:ff9b::198.51.100.7", "198.51.100.7"},
	{"behind the operator's NAT64 and without", "2001:db8:64::198.51.100.7", "198.51.100.7"},
	{"6to4 and without", "2002:c633:6407:1::1", "198.51.100.7"},
}

// startRequiring runs a gateway behind an appending proxy, with two homes that
// have IPv4 and IPv6, where the network is required.
func startRequiring(t *testing.T, idp *idptest.Provider) *gateway {
	t.Helper()
	g := newGateway(t)
	g.configure(func(s string) string {
		return strings.Replace(behindProxy("\t\ttrusted_proxies_strict\n")(at(idp, "")(s)), "\tbrand",
			`	network require
		networks one 203.0.113.7 2001:db8:77::/56
		networks another 203.0.113.20 2001:db8:78::/56
		nat64 2001:db8:64::/96
		pending client 9000
		pending address 9000
		wait off
		brand`, 1)
	})
	g.start()
	return g
}

// No victim lets an attacker of another network in, whatever the victim is told
// to click and to post; people whose devices are in their network are all served,
// in a home of two families too.
//
// protocol 38
func TestPhishingWinsNothingWhereTheNetworkIsRequired(t *testing.T) {
	t.Parallel()
	idp := idptest.Start()
	defer idp.Close()
	g := startRequiring(t, idp)
	for i, a := range attackers {
		victim := signedInFrom(t, g, idp, fmt.Sprint("victim ", i), a.victim)
		won := 0
		for range *victims {
			from := a.attacker
			if a.claimed != "" {
				from = a.claimed + ", " + a.attacker
			}
			d, status := g.asksFrom(from, nil)
			if status != http.StatusOK {
				t.Fatalf("%s: the attacker's device is answered %d", a.name, status)
			}
			victim.open(g.url + "/device")
			victim.submit("/device", "user_code", d.User)
			victim.submit("/device/confirm", "answer", "allow", "started", "me")
			victim.sees("another network")
			if answer := d.poll(); answer.Error != "authorization_pending" && answer.Error != "slow_down" {
				t.Errorf("%s: the attacker's device is answered %+v", a.name, answer)
				won++
			}
		}
		t.Logf("%s: %d of %d", a.name, won, *victims)
	}
	for i, h := range honest {
		person := signedInFrom(t, g, idp, fmt.Sprint("person ", i), h.person)
		served := 0
		for range *victims {
			d, status := g.asksFrom(h.device, nil)
			if status != http.StatusOK {
				t.Fatalf("%s: the device is answered %d", h.name, status)
			}
			person.open(g.url + "/device")
			person.submit("/device", "user_code", d.User)
			person.submit("/device/confirm", "answer", "allow")
			if answer := d.poll(); answer.Status == http.StatusOK {
				served++
			}
		}
		if served != *victims {
			t.Errorf("%s: %d of %d were served", h.name, served, *victims)
		}
		t.Logf("%s: %d of %d", h.name, served, *victims)
	}
}
