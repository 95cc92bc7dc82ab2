package caddymodule

import (
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zaptest/observer"

	"github.com/deviceauth/caddy-deviceauth/caddymodule/dispatch"
	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/sampling"
)

// auditing is an app that only writes events, with its log and the events that
// Caddy's events app got.
type auditing struct {
	*App
	lines *observer.ObservedLogs

	mu      sync.Mutex
	emitted []map[string]any
}

func newAuditing() *auditing {
	log, lines := observed()
	a := &auditing{App: &App{log: log, auditLogs: auditLogs(log)}, lines: lines}
	subscribed := func(string) bool { return true }
	emit := func(_ string, data map[string]any) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.emitted = append(a.emitted, data)
	}
	a.dispatcher = dispatch.New(dispatch.Emitter{Subscribed: subscribed, Emit: emit}, log)
	a.sampler = sampling.New(a.logOmittedEvents)
	return a
}

// counted returns the value of the metric for an event.
func counted(t *testing.T, name string) float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(auditEvents)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if m.GetLabel()[0].GetValue() == name {
				return m.GetCounter().GetValue()
			}
		}
	}
	return 0
}

func TestUnlimitedEventsAreSampled(t *testing.T) {
	alice := &deviceauth.Person{Subject: "work|alice", User: "alice"}
	pending := &deviceauth.Grant{State: deviceauth.Pending}
	const n = 2_000
	for name, event := range map[string]deviceauth.Event{
		"codes refused": {
			Name: deviceauth.EventTurnedAway, Reason: "slow_down", From: netip.MustParseAddr("192.0.2.7"),
		},
		"sign-ins refused": {Name: deviceauth.EventSignInRefused, Reason: "sign_in_cancelled", Upstream: "work"},
		"guesses":          {Name: deviceauth.EventGuessing, Person: alice},
		"barred":           {Name: deviceauth.EventBarred, Person: alice},
		"moved":            {Name: deviceauth.EventMoved, Reason: "moved", Person: alice},
		"barred by a rule": {Name: deviceauth.EventBarred, Person: alice, Grant: pending},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, before := newAuditing(), counted(t, event.Name)
				for range n {
					a.audit(event)
				}
				if got := a.lines.Len(); got != 10 {
					t.Errorf("%d lines at once", got)
				}
				time.Sleep(61 * time.Second)
				a.sampler.Close()
				a.dispatcher.End()
				all := a.lines.All()
				last := all[len(all)-1].ContextMap()
				of := event.Reason == "" || last["reason"] == event.Reason
				by := event.Person == nil || last["subject"] == event.Person.Subject
				if len(all) != 11 || last["more"] != int64(n-10) || !of || !by {
					t.Errorf("%d lines, the last is %v", len(all), last)
				}
				if len(a.emitted) != 11 || a.emitted[10]["more"] != n-10 {
					t.Errorf("emitted %d, the last is %v", len(a.emitted), a.emitted[len(a.emitted)-1])
				}
				if got := counted(t, event.Name) - before; got != n {
					t.Errorf("the metric counts %v", got)
				}
			})
		})
	}
}

// A flood of one kind hides no event of another kind, and events that change a
// grant are always written.
func TestFloodHidesNoOtherEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuditing()
		for range 100 {
			a.audit(deviceauth.Event{Name: deviceauth.EventTurnedAway, Reason: "invalid_client"})
			a.audit(deviceauth.Event{Name: deviceauth.EventBarred, Person: &deviceauth.Person{Subject: "work|mallory"}})
		}
		before := a.lines.Len()
		a.audit(deviceauth.Event{Name: deviceauth.EventTurnedAway, Reason: "access_denied"})
		a.audit(deviceauth.Event{Name: deviceauth.EventBarred, Person: &deviceauth.Person{Subject: "work|alice"}})
		for range 20 {
			ended := &deviceauth.Grant{State: deviceauth.Revoked}
			mallory := &deviceauth.Person{Subject: "work|mallory"}
			a.audit(deviceauth.Event{Name: deviceauth.EventBarred, Person: mallory, Grant: ended})
			a.audit(deviceauth.Event{Name: deviceauth.EventReplayed, Grant: ended})
		}
		if got := a.lines.Len() - before; before != 20 || got != 42 {
			t.Errorf("%d lines of the floods, %d of the rest", before, got)
		}
		a.sampler.Close()
		a.dispatcher.End()
	})
}
