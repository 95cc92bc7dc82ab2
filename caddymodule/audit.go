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
	a.write(e.Name, facts(e))
	if e.Name == deviceauth.EventRedeemed {
		a.connected(e.Grant)
	}
}

// write writes an event to the log and to the events app, with its members in
// the order of factNames.
func (a *App) write(name string, data map[string]any) {
	var fields []zap.Field
	for _, fact := range factNames {
		if value := data[fact]; value != nil {
			fields = append(fields, zap.Any(fact, value))
		}
	}
	a.log.Named("audit").Named(name).Log(auditLevel(name), name, fields...)
	a.dispatcher.dispatch(name, data)
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

// factNames are the members of an event, in the order in which the log has them.
var factNames = []string{
	"grant", "client_id", "tried_client_id", "device_ip", "ip", "scope", "upstream", "reason", "rule", "claims", "by",
	"subject", "user", "more",
}

// facts are the members of an event that are known. A member without a value is
// left out, so that a handler can tell "unknown" from empty.
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
	// The address is the device's or the browser's, depending on which of the
	// two made the request that the event is about.
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
