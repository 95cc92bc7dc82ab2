package main

import (
	"strings"
	"testing"
)

// Where the network only warns, ConsentFix is not prevented: the code that a victim hands
// over is exchanged from where the attacker is. What the policy owes the victim is that the
// question names the program's host, where the answer does not stay on this computer.
//
// protocol 48, 50
func TestHandedOverCodeIsGoodWhereTheNetworkWarns(t *testing.T) {
	t.Parallel()
	g, idp := startBehindProxy(t, "network warn")
	for i, a := range attackers {
		victim := signedInFrom(t, g, idp, "victim "+string(rune('a'+i)), a.victim)
		from := a.attacker
		if a.claimed != "" {
			from = a.claimed + ", " + a.attacker
		}
		for range *victims {
			here := newCodeLogin(t, g, "desktop")
			here.answers(victim, stockKeeper, "allow")
			if answer := here.exchangeFrom(from); answer.Access == "" {
				t.Errorf("%s: %+v", a.name, answer)
			}
			away := newCodeLogin(t, g, "desktop")
			away.redirect = "https://stock.example.com/callback"
			victim.open(away.address())
			victim.sees(stockKeeper)
			if !strings.Contains(victim.page, "It goes to stock.example.com.") {
				t.Fatalf("%s: the question does not warn of where the answer goes:\n%s", a.name, victim.page)
			}
			away.answers(victim, stockKeeper, "allow")
			if answer := away.exchangeFrom(from); answer.Access == "" {
				t.Errorf("%s, to another host: %+v", a.name, answer)
			}
		}
	}
	if strings.Contains(g.log.String(), "grant_revoked") {
		t.Errorf("a grant was ended:\n%s", g.log)
	}
}
