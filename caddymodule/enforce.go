package caddymodule

import (
	"errors"
	"maps"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/deviceauth/caddy-deviceauth/caddymodule/writers"
	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
	"github.com/deviceauth/caddy-deviceauth/internal/reqbody"
	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// How a guard's decision is applied in Caddy: error routes, metrics, log and
// placeholders. The order of the steps is that of guard.Pipeline, and tokens are
// validated by guard.Guard.

// newPipeline returns the guard's pipeline, with the functions that depend on Caddy.
func (g *Guard) newPipeline() guard.Pipeline {
	p := guard.Pipeline{
		Reserved: g.config().ReservedHeaders(), Trusted: isTrusted, Describe: g.describe, Guard: g.tokenGuardFor,
		Asked: g.challengedRequest, Observe: func(took time.Duration) { guardSeconds.Observe(took.Seconds()) },
		// A matcher decides by method and path, so headers that override either for
		// the backend, such as X-Http-Method-Override, must be removed first.
		Selects: func() bool { return g.matcher.Selects() || g.isInBlock() },
	}
	if g.matcher.Selects() {
		p.Match = g.matcher.Judge
	}
	if g.Legacy != nil {
		p.Key = func(w http.ResponseWriter, r *http.Request) *deviceauth.Identity {
			return g.Legacy.admit(w, r, g.credentials())
		}
	}
	return p
}

// tokenGuardFor returns the token guard that decides, and a function to call after
// the decision: until then the store stays open. A guard whose server is in another
// Caddy always has the same token guard.
func (g *Guard) tokenGuardFor(r *http.Request) (tokenGuard *guard.Guard, release func(), err error) {
	if g.Edge != nil {
		return g.remote, func() {}, nil
	}
	s, release, err := g.app.acquire(r)
	if err != nil {
		return nil, nil, err
	}
	return s.guard(g), release, nil
}

// ServeHTTP implements caddyhttp.MiddlewareHandler. It either calls the next handler
// or returns an error for the site's error routes. With report_only a refused request
// is passed to the next handler as if there were no guard.
func (g *Guard) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	// All guards of a request share one identity: the first one removes the token
	// from the request, and later ones still need it.
	identity := requestIdentityOf(r)
	// With report_only the response header must be restored as if there were no
	// guard.
	var before http.Header
	if g.ReportOnly {
		before = w.Header().Clone()
	}
	d := g.pipeline.Decide(w, r, &identity.State)
	g.record(identity, r, &d)
	switch {
	case d.Answered:
		reqbody.Discard(w, r, caddy.Exiting)
		return nil
	case d.Err == guard.ErrTarget: // no backend may see such a request, even with report_only
		return g.refuse(w, r, caddyhttp.Error(http.StatusBadRequest, d.Err))
	case d.Err != nil && g.ReportOnly:
		g.report(identity, w, r, before, g.refusal(w, r, &d))
		return next.ServeHTTP(w, r)
	case d.Err != nil:
		return g.refuse(w, r, g.refusal(w, r, &d))
	}
	out := w
	if d.Outcome != guard.Unguarded {
		wrapped, watched := g.wrap(identity, w, &d)
		if out = wrapped; watched != nil {
			defer watched.End() // ends the watch for a revocation together with the response
		}
	}
	err := next.ServeHTTP(out, r)
	if err != nil && identity.private { // error routes may send personal data, too
		identity.private = false
		w.Header().Add("Cache-Control", "private")
		writers.AddVary(w.Header(), g.credentials())
	}
	return err
}

// record counts and logs a decision, and sets up the placeholders.
func (g *Guard) record(identity *requestIdentity, r *http.Request, d *guard.Decision) {
	if d.Guarded {
		identity.servePlaceholders(r)
	}
	if d.Guarded || d.Err != nil {
		countDecision(d.Outcome)
	}
	if d.Outcome == guard.LegacyKey {
		legacyUses.WithLabelValues(identity.Identity.ClientID).Inc()
	}
	if d.Challenge != nil {
		g.logRefusal(identity, r, d.Challenge)
	}
}

// refuse ends a request with an error: with a body of our own, or by the site's error
// routes, which cannot see the resource. It discards the request's body first,
// because net/http would wait for it, however slowly it is sent.
func (g *Guard) refuse(w http.ResponseWriter, r *http.Request, err error) error {
	r.Header.Del("Authorization") // error routes may be a proxy, which must not forward the token
	r.Header.Del(g.TokenHeader)
	reqbody.Discard(w, r, caddy.Exiting)
	if g.sites.explain(g, w, r, err) {
		return nil
	}
	hide(r, err)
	return err
}

// refusal sets the headers of a refused request and returns the error for the site's
// handle_errors. The response to a challenge (RFC 6750 §3) must be readable for a
// page of an allowed origin, and must not be stored. If no decision was possible,
// because the store or the server is unavailable, the response is 503, never access;
// the outage is logged, unless the client only closed its connection.
func (g *Guard) refusal(w http.ResponseWriter, r *http.Request, d *guard.Decision) error {
	switch {
	case d.Challenge != nil:
		w.Header()["Www-Authenticate"] = d.Challenge.Headers
		w.Header().Set("Cache-Control", "no-store")
		if d.Origin != "" {
			writers.AllowOrigin(w.Header(), d.Origin)
		}
		return caddyhttp.Error(d.Challenge.Status, d.Challenge)
	case d.Outcome == guard.Malformed:
		return caddyhttp.Error(http.StatusBadRequest, d.Err)
	}
	if r.Context().Err() == nil {
		g.sites.fault(g.issuer(), d.Err)
	}
	return unavailable(w, d.Err)
}

// wrap returns the writer for the backend's response to a guarded request. The writer
// adds CORS and cache headers, even for a request without an identity, and ends the
// response when the grant is revoked. The stream is nil if there is no grant, or if
// an earlier guard of the same request already watches it.
func (g *Guard) wrap(
	identity *requestIdentity, w http.ResponseWriter, d *guard.Decision,
) (http.ResponseWriter, *writers.Stream) {
	if wrapped := g.wrapResponse(identity, w, d.Origin); wrapped != nil {
		w = wrapped
	}
	id := identity.Identity
	if g.app == nil || identity.watched || id == nil || id.Grant == (deviceauth.ID{}) {
		return w, nil
	}
	identity.watched = true
	s := g.app.issuerState.streams.Begin(w, id.Grant)
	return s, s
}

// report logs a request that would have been refused, and undoes what the guard did:
// it restores the response header, and the identity that an earlier guard
// established.
func (g *Guard) report(
	identity *requestIdentity, w http.ResponseWriter, r *http.Request, before http.Header, err error,
) {
	clear(w.Header())
	maps.Copy(w.Header(), before)
	identity.Restore(r)
	countDecision(decisionReported)
	g.log.Info("would be refused", zap.String("method", r.Method),
		zap.String("path", text.WithoutCredentials(r.URL.Path)), zap.Stringer("client_ip", clientIP(r)), zap.Error(err))
}

// logRefusal counts the reason of a refused token, and logs it at debug level with
// the token's identity, if known. A token that only lacks a scope is valid: its user
// is then also in the access log, as user_id.
func (g *Guard) logRefusal(identity *requestIdentity, r *http.Request, c *guard.Challenge) {
	var tokenErr *deviceauth.TokenError
	if errors.As(c, &tokenErr) {
		tokensRefused.WithLabelValues(tokenErr.Reason).Inc()
		if tokenErr.Reason == deviceauth.TokenScope {
			identity.lacksScope = tokenErr.Identity
		}
	}
	entry := g.log.Check(zap.DebugLevel, "refused")
	if entry == nil {
		return
	}
	// Only at debug level: a client that retries with an invalid token could
	// otherwise fill the log.
	fields := []zap.Field{
		zap.Int("status", c.Status), zap.String("method", r.Method),
		zap.String("path", text.WithoutCredentials(r.URL.Path)), zap.Stringer("client_ip", clientIP(r)), zap.Error(c),
	}
	if tokenErr != nil {
		fields = append(fields, zap.String("reason", tokenErr.Reason))
		if id := tokenErr.Identity; id != nil {
			fields = append(fields, zap.String("user", id.Claim("user")), zap.String("subject", id.Claim("sub")),
				zap.String("client_id", id.ClientID), zap.Stringer("grant", id.Grant))
		}
	}
	entry.Write(fields...)
}
