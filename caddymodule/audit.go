package caddymodule

import (
	"maps"
	"slices"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// audit writes one log entry for each event of a grant's life, with the event's
// stable name as the message and in the logger's name. It also counts the event
// and emits it in Caddy's events app. No event has a code or a token in it.
// Events that anyone can cause without limit are sampled in the log and the
// events app; all of them are counted.
func (a *App) audit(e deviceauth.Event) {
	auditEvents.WithLabelValues(e.Name).Inc()
	if kind, endless := endlessKind(e); endless && !a.sampler.Pass(kind) {
		return
	}
	// Members are collected only for a reader: a log that has the level, or a handler.
	if entry := a.auditEntry(e.Name); entry != nil || a.dispatcher.subscribed(e.Name) {
		a.write(entry, e.Name, membersOf(e))
	}
	if e.Name == deviceauth.EventRedeemed {
		a.connected(e.Grant)
	}
}

// auditLogs returns the loggers of the events by the events' names: to name a
// logger copies it, which is too much for each event.
func auditLogs(log *zap.Logger) map[string]*zap.Logger {
	logs := map[string]*zap.Logger{}
	for _, name := range deviceauth.EventNames() {
		logs[name] = log.Named("audit").Named(name)
	}
	return logs
}

// auditEntry begins the log entry of an event. It returns nil where the log does
// not have the event's level.
func (a *App) auditEntry(name string) *zapcore.CheckedEntry {
	return a.auditLogs[name].Check(auditLevel(name), name)
}

// write writes an event to the log, unless entry is nil, and to the events app.
func (a *App) write(entry *zapcore.CheckedEntry, name string, members eventMembers) {
	if entry != nil {
		fields := make([]zap.Field, len(members))
		for i, m := range members {
			fields[i] = m.field()
		}
		entry.Write(fields...)
	}
	if a.dispatcher.subscribed(name) {
		data := make(map[string]any, len(members))
		for _, m := range members {
			data[m.name] = m.value()
		}
		a.dispatcher.dispatch(name, data)
	}
}

// auditLevel is debug for what devices do by themselves all the time: a hundred
// thousand devices refresh their tokens ten million times a day.
func auditLevel(name string) zapcore.Level {
	if name == deviceauth.EventRefreshed {
		return zap.DebugLevel
	}
	return zap.InfoLevel
}

// An eventKind is what sampled events have in common: events of one kind are
// counted together.
type eventKind struct{ name, reason, subject string }

// endlessKind reports whether an event can be caused without limit: the request
// that causes it changes nothing in the store, and needs at most a session. Such
// events are sampled by the kind that it returns.
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

// more writes how many events of a kind were left out since the last one that
// was written.
func (a *App) more(kind eventKind, n int) {
	var members eventMembers
	members.add("reason", kind.reason)
	members.add("subject", kind.subject)
	members = append(members, eventMember{name: "more", number: n})
	if kind.name == "" {
		kind.name = deviceauth.EventBarred // of more people than are counted one by one
	}
	a.write(a.auditEntry(kind.name), kind.name, members)
}

// An eventMember is one member of an event, in the log and in the events app. Its
// value is a text, a list of names, or a number.
type eventMember struct {
	name   string
	text   string
	names  []string // nil: the value is no list
	number int      // 0: the value is no number
}

// value is the member's value in the events app.
func (m eventMember) value() any {
	switch {
	case m.names != nil:
		return m.names
	case m.number != 0:
		return m.number
	}
	return m.text
}

// field is the member in the log.
func (m eventMember) field() zap.Field {
	switch {
	case m.names != nil:
		return zap.Strings(m.name, m.names)
	case m.number != 0:
		return zap.Int(m.name, m.number)
	}
	return zap.String(m.name, m.text)
}

// eventMembers are the members of an event, in the order in which the log has
// them. A member without a value is left out, so that a handler can distinguish "unknown"
// from empty.
type eventMembers []eventMember

// add adds a member, unless its text is empty.
func (all *eventMembers) add(name, text string) {
	if text != "" {
		*all = append(*all, eventMember{name: name, text: text})
	}
}

// membersOf returns the members of an event that are known.
func membersOf(e deviceauth.Event) eventMembers {
	all := make(eventMembers, 0, 8)
	if e.Grant != nil {
		all.add("grant", e.Grant.ID.String())
	}
	all.add("client_id", e.ClientID)
	all.add("tried_client_id", e.Tried)
	// The address is the device's or the browser's, depending on which of the
	// two made the request that the event is about.
	ip := e.Browser
	if e.From.IsValid() && (e.Grant != nil || e.Name == deviceauth.EventTurnedAway) {
		all.add("device_ip", e.From.String())
	} else if !ip.IsValid() {
		ip = e.From
	}
	if ip.IsValid() {
		all.add("ip", ip.String())
	}
	if e.Grant != nil {
		all.add("scope", string(e.Grant.Scope))
	}
	all.add("upstream", e.Upstream)
	all.add("reason", e.Reason)
	all.add("rule", e.Rule)
	if e.Name == deviceauth.EventBarred && e.Person != nil {
		all = append(all, eventMember{name: "claims", names: claimNames(e.Person.Claims)})
	}
	all.add("by", e.By)
	if e.Person != nil {
		all.add("subject", e.Person.Subject)
		all.add("user", e.Person.User)
	}
	return all
}

// The bounds of what is written of claims, whose names the upstream chooses: a
// provider must not be able to fill the log.
const (
	maxClaimNames = 50
	maxClaimName  = 60 // characters
)

// claimNames are the names of the claims that are known of a person. They show
// when a rule asks for a claim that the upstream never sent. The values are
// personal data and are not written.
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
