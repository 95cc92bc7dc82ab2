package caddymodule

import (
	"go.uber.org/zap"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// audit writes one line for each event of a grant's life, with the event's
// stable name as the message. There is no code and no token in it.
func (a *App) audit(e deviceauth.Event) {
	var fields []zap.Field
	if g := e.Grant; g != nil {
		fields = append(fields, zap.Stringer("grant", g.ID), zap.String("client_id", g.ClientID), zap.Stringer("device_ip", g.From), zap.String("scope", string(g.Scope)))
		if g.Reason != "" {
			fields = append(fields, zap.String("reason", g.Reason))
		}
	}
	if e.Person != nil {
		fields = append(fields, zap.String("subject", e.Person.Subject), zap.String("user", e.Person.User))
	}
	a.log.Named("audit").Info(e.Name, fields...)
	auditEvents.WithLabelValues(e.Name).Inc()
	if e.Name == deviceauth.EventRedeemed {
		a.connected(e.Grant)
	}
}
