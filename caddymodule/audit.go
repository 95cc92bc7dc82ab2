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
	if log := a.auditLog(e.Name); log != nil || a.dispatcher.heard(e.Name) {
		a.write(log, e.Name, factsOf(e))
	}
	if e.Name == deviceauth.EventRedeemed {
		a.connected(e.Grant)
	}
}

// auditLogs are the loggers of the events, by their names.
func auditLogs(log *zap.Logger) map[string]*zap.Logger {
	all := map[string]*zap.Logger{}
	for _, name := range deviceauth.EventNames() {
		all[name] = log.Named("audit").Named(name)
	}
	return all
}

// auditLog returns an entry of the log for an event, or nil where its level is off.
func (a *App) auditLog(name string) *zapcore.CheckedEntry {
	return a.auditLogs[name].Check(auditLevel(name), name)
}

// write tells the log, where there is an entry for it, and the events app.
func (a *App) write(log *zapcore.CheckedEntry, name string, all facts) {
	if log != nil {
		fields := make([]zap.Field, len(all))
		for i, one := range all {
			fields[i] = one.field()
		}
		log.Write(fields...)
	}
	if a.dispatcher.heard(name) {
		data := make(map[string]any, len(all))
		for _, one := range all {
			data[one.name] = one.value()
		}
		a.dispatcher.tell(name, data)
	}
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
	var all facts
	all.put("reason", kind.reason)
	all.put("subject", kind.subject)
	all = append(all, fact{name: "more", number: n})
	if kind.name == "" {
		kind.name = deviceauth.EventBarred // of more people than are told apart
	}
	a.write(a.auditLog(kind.name), kind.name, all)
}

// A fact is one member of an event: a text, names, or a number.
type fact struct {
	name   string
	text   string
	names  []string // nil: it is none of these
	number int      // 0: it is none
}

func (f fact) value() any {
	switch {
	case f.names != nil:
		return f.names
	case f.number != 0:
		return f.number
	}
	return f.text
}

// field is the fact in a log.
func (f fact) field() zap.Field {
	switch {
	case f.names != nil:
		return zap.Strings(f.name, f.names)
	case f.number != 0:
		return zap.Int(f.name, f.number)
	}
	return zap.String(f.name, f.text)
}

// facts are what is said of an event, in the order of the log. What is not known is
// left out.
type facts []fact

func (f *facts) put(name, text string) {
	if text != "" {
		*f = append(*f, fact{name: name, text: text})
	}
}

func factsOf(e deviceauth.Event) facts {
	all := make(facts, 0, 8)
	if e.Grant != nil {
		all.put("grant", e.Grant.ID.String())
	}
	all.put("client_id", e.ClientID)
	all.put("tried_client_id", e.Tried)
	ip := e.Browser
	if e.From.IsValid() && (e.Grant != nil || e.Name == deviceauth.EventTurnedAway) {
		all.put("device_ip", e.From.String())
	} else if !ip.IsValid() {
		ip = e.From
	}
	if ip.IsValid() {
		all.put("ip", ip.String())
	}
	if e.Grant != nil {
		all.put("scope", string(e.Grant.Scope))
	}
	all.put("upstream", e.Upstream)
	all.put("reason", e.Reason)
	all.put("rule", e.Rule)
	if e.Name == deviceauth.EventBarred && e.Person != nil {
		all = append(all, fact{name: "claims", names: claimNames(e.Person.Claims)})
	}
	all.put("by", e.By)
	if e.Person != nil {
		all.put("subject", e.Person.Subject)
		all.put("user", e.Person.User)
	}
	return all
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
