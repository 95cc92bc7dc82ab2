package caddymodule

import (
	"maps"
	"slices"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// audit logs an event of a grant's life, with the event's stable name as the message
// and as part of the logger's name. It also counts the event and emits it in Caddy's
// events app. Events contain no codes and no tokens. Events that a client can cause
// without limit are sampled in the log and the events app; all of them are counted.
func (a *App) audit(e deviceauth.Event) {
	auditEvents.WithLabelValues(e.Name).Inc()
	if kind, endless := samplingKind(e); endless && !a.sampler.Pass(kind) {
		return
	}
	// Members are collected only if a log with the level or an event handler needs
	// them.
	if entry := a.auditEntry(e.Name); entry != nil || a.dispatcher.Subscribed(e.Name) {
		a.write(entry, e.Name, membersOf(e))
	}
	if e.Name == deviceauth.EventRedeemed {
		a.connected(e.Grant)
	}
}

// auditLogs returns the loggers of the events by event name. They are created once
// because naming a logger copies it.
func auditLogs(log *zap.Logger) map[string]*zap.Logger {
	logs := map[string]*zap.Logger{}
	for _, name := range deviceauth.EventNames() {
		logs[name] = log.Named("audit").Named(name)
	}
	return logs
}

// auditEntry begins the log entry of an event. It returns nil if the log does not
// have the event's level.
func (a *App) auditEntry(name string) *zapcore.CheckedEntry {
	return a.auditLogs[name].Check(auditLevel(name), name)
}

// write writes an event to the log, unless entry is nil, and to the events app.
func (a *App) write(entry *zapcore.CheckedEntry, name string, members eventMembers) {
	if entry != nil {
		fields := make([]zap.Field, len(members))
		for i, m := range members {
			fields[i] = zap.Any(m.name, m.value)
		}
		entry.Write(fields...)
	}
	if a.dispatcher.Subscribed(name) {
		data := make(map[string]any, len(members))
		for _, m := range members {
			data[m.name] = m.value
		}
		a.dispatcher.Dispatch(name, data)
	}
}

// auditLevel returns the log level of an event. It is debug for what devices do by
// themselves all the time: a hundred thousand devices refresh their tokens ten
// million times a day.
func auditLevel(name string) zapcore.Level {
	if name == deviceauth.EventRefreshed {
		return zap.DebugLevel
	}
	return zap.InfoLevel
}

// An eventKind identifies sampled events that are counted together.
type eventKind struct{ name, reason, subject string }

// samplingKind reports whether an event can be caused without limit, because the
// request changes nothing in the store and needs at most a session, and returns the
// kind by which such events are sampled.
func samplingKind(e deviceauth.Event) (kind eventKind, endless bool) {
	switch e.Name {
	case deviceauth.EventTurnedAway, deviceauth.EventSignInRefused, deviceauth.EventGuessing, deviceauth.EventBarred,
		deviceauth.EventMoved:
	default:
		return kind, false
	}
	if e.Grant != nil && e.Grant.State != deviceauth.Pending {
		return kind, false // this event ended the grant, which happens once
	}
	kind = eventKind{name: e.Name, reason: e.Reason}
	if e.Person != nil {
		kind.subject = e.Person.Subject
	}
	return kind, true
}

// logOmittedEvents logs how many events of a kind were omitted since the last one
// that was logged.
func (a *App) logOmittedEvents(kind eventKind, n int) {
	var members eventMembers
	members.add("reason", kind.reason)
	members.add("subject", kind.subject)
	members = append(members, eventMember{name: "more", value: n})
	if kind.name == "" {
		kind.name = deviceauth.EventBarred // of people beyond those that are counted separately
	}
	a.write(a.auditEntry(kind.name), kind.name, members)
}

// An eventMember is a member of an event, in the log and in the events app.
type eventMember struct {
	name  string
	value any // a text, a list of names, or a number
}

// eventMembers are the members of an event, in log order. Members without a value are
// omitted, so that a handler can distinguish "unknown" from empty.
type eventMembers []eventMember

// add adds a member, unless its text is empty.
func (all *eventMembers) add(name, text string) {
	if text != "" {
		*all = append(*all, eventMember{name: name, value: text})
	}
}

// membersOf returns the known members of an event.
func membersOf(e deviceauth.Event) eventMembers {
	all := make(eventMembers, 0, 8)
	if e.Grant != nil {
		all.add("grant", e.Grant.ID.String())
	}
	all.add("client_id", e.ClientID)
	all.add("tried_client_id", e.Tried)
	// The address is that of the device or of the browser, depending on which of them
	// sent the request.
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
		all = append(all, eventMember{name: "claims", value: claimNames(e.Person.Claims)})
	}
	all.add("by", e.By)
	if e.Person != nil {
		all.add("subject", e.Person.Subject)
		all.add("user", e.Person.User)
	}
	return all
}

// Limits for claim names, which the upstream chooses: a provider must not be able to
// fill the log.
const (
	maxClaimNames = 50
	maxClaimName  = 60 // characters
)

// claimNames returns the names of a person's known claims, which show if a rule needs
// a claim that the upstream never sent. The values are personal data and are not
// logged.
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
