package caddymodule

import (
	"maps"
	"slices"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// audit writes one line for each event of a grant's life, with the event's
// stable name as the message and in the logger's name, counts it, and emits it in
// Caddy's events app. There is no code and no token in it. Of what strangers can
// cause without end only a few are written and emitted; all are counted.
func (a *App) audit(e deviceauth.Event) {
	auditEvents.WithLabelValues(e.Name).Inc()
	if kind, endless := endlessKind(e); endless && !a.sampler.Pass(kind) {
		return
	}
	a.write(e.Name, facts(e))
	if e.Name == deviceauth.EventRedeemed {
		a.connected(e.Grant)
	}
}

// write tells the log and the events app.
func (a *App) write(name string, data map[string]any) {
	var fields []zap.Field
	for _, fact := range factNames {
		if value := data[fact]; value != nil {
			fields = append(fields, zap.Any(fact, value))
		}
	}
	a.log.Named("audit").Named(name).Log(auditLevel(name), name, fields...)
	a.dispatcher.tell(name, data)
}

// auditLevel is debug for what devices do all the time, without anybody: a hundred
// thousand of them refresh ten million times a day.
func auditLevel(name string) zapcore.Level {
	if name == deviceauth.EventRefreshed {
		return zap.DebugLevel
	}
	return zap.InfoLevel
}

// An eventKind is what events have in common that are counted together.
type eventKind struct{ name, reason, subject string }

// endlessKind reports whether somebody can cause an event as often as they like:
// it changes nothing in the store, and needs at most a session.
func endlessKind(e deviceauth.Event) (kind eventKind, endless bool) {
	switch e.Name {
	case deviceauth.EventTurnedAway, deviceauth.EventSignInRefused, deviceauth.EventGuessing, deviceauth.EventBarred,
		deviceauth.EventMoved:
	default:
		return kind, false
	}
	if e.Grant != nil && e.Grant.State != deviceauth.Pending {
		return kind, false // it ended with this, once
	}
	kind = eventKind{name: e.Name, reason: e.Reason}
	if e.Person != nil {
		kind.subject = e.Person.Subject
	}
	return kind, true
}

// more tells how many events of a kind were not written.
func (a *App) more(kind eventKind, n int) {
	data := map[string]any{"more": n}
	for name, value := range map[string]string{"reason": kind.reason, "subject": kind.subject} {
		if value != "" {
			data[name] = value
		}
	}
	if kind.name == "" {
		kind.name = deviceauth.EventBarred // of more people than are told apart
	}
	a.write(kind.name, data)
}

// factNames are the members of an event, in the order of the log.
var factNames = []string{
	"grant", "client_id", "tried_client_id", "device_ip", "ip", "scope", "upstream", "reason", "rule", "claims", "by",
	"subject", "user", "more",
}

// facts are what is said of an event. What is not known is left out.
func facts(e deviceauth.Event) map[string]any {
	data := map[string]any{}
	put := func(name, value string) {
		if value != "" {
			data[name] = value
		}
	}
	if e.Grant != nil {
		put("grant", e.Grant.ID.String())
		put("scope", string(e.Grant.Scope))
	}
	if e.From.IsValid() {
		device := e.Grant != nil || e.Name == deviceauth.EventTurnedAway
		put(map[bool]string{true: "device_ip", false: "ip"}[device], e.From.String())
	}
	if e.Browser.IsValid() {
		put("ip", e.Browser.String())
	}
	put("client_id", e.ClientID)
	put("tried_client_id", e.Tried)
	put("upstream", e.Upstream)
	put("reason", e.Reason)
	put("rule", e.Rule)
	put("by", e.By)
	if e.Name == deviceauth.EventBarred && e.Person != nil {
		data["claims"] = claimNames(e.Person.Claims)
	}
	if e.Person != nil {
		put("subject", e.Person.Subject)
		put("user", e.Person.User)
	}
	return data
}

// The bounds of what is said of claims, whose names are an upstream's.
const (
	maxClaimNames = 50
	maxClaimName  = 60 // characters
)

// claimNames are the names of the claims that are known of a person, so that a rule
// for one that the upstream never sent is seen to be that. No value is among them.
func claimNames(c deviceauth.Claims) []string {
	names := []string{}
	for _, name := range slices.Sorted(maps.Keys(c)) {
		if len(names) == maxClaimNames {
			break
		}
		text := []rune(text.Plain(name))
		names = append(names, string(text[:min(len(text), maxClaimName)]))
	}
	return names
}
