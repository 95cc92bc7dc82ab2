package caddymodule

import (
	"go.uber.org/zap"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// audit writes one line for each event of a grant's life, with the event's
// stable name as the message, counts it, and emits it in Caddy's events app.
// There is no code and no token in it.
func (a *App) audit(e deviceauth.Event) {
	data := facts(e)
	var fields []zap.Field
	for _, name := range factNames {
		if value := data[name]; value != nil {
			fields = append(fields, zap.Any(name, value))
		}
	}
	a.log.Named("audit").Info(e.Name, fields...)
	auditEvents.WithLabelValues(e.Name).Inc()
	a.herald.tell(e.Name, data)
	if e.Name == deviceauth.EventRedeemed {
		a.connected(e.Grant)
	}
}

// factNames are the members of an event, in the order of the log.
var factNames = []string{"grant", "client_id", "device_ip", "ip", "scope", "upstream", "reason", "by", "subject", "user"}

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
		put(map[bool]string{true: "device_ip", false: "ip"}[e.Grant != nil || e.Name == deviceauth.EventTurnedAway], e.From.String())
	}
	put("client_id", e.ClientID)
	put("upstream", e.Upstream)
	put("reason", e.Reason)
	put("by", e.By)
	if e.Person != nil {
		put("subject", e.Person.Subject)
		put("user", e.Person.User)
	}
	return data
}
