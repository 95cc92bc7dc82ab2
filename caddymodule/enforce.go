package caddymodule

import (
	"errors"
	"maps"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
	"github.com/deviceauth/caddy-deviceauth/internal/reqbody"
	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// What a guard's decision means in Caddy: its error routes, metrics, log and
// placeholders. The order of the steps is that of guard.Pipeline, and what a token
// is good for is decided by guard.Guard.

// newPipeline is the guard's order, with what only Caddy knows of a request.
func (g *Guard) newPipeline() guard.Pipeline {
	p := guard.Pipeline{
		Reserved: g.config().ReservedHeaders(), Trusted: isTrusted, Describe: g.describe, Guard: g.tokenGuardFor,
		Asked: g.challengedRequest, Observe: func(took time.Duration) { guardSeconds.Observe(took.Seconds()) },
		// A matcher judges method and path, so headers that override either for the
		// backend, such as X-Http-Method-Override, must go before.
		Selects: func() bool { return len(g.matcher.sets) > 0 || g.isInBlock() },
	}
	if len(g.matcher.sets) > 0 {
		p.Match = g.matcher.judge
	}
	if g.Legacy != nil {
		p.Key = func(w http.ResponseWriter, r *http.Request) *deviceauth.Identity {
			return g.Legacy.admit(w, r, g.credentials())
		}
	}
	return p
}

// tokenGuardFor returns the token guard that decides, and a function to call when the
// decision has been made: until then it keeps the store open. A guard whose
// server is elsewhere has one token guard for good.
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

// ServeHTTP implements caddyhttp.MiddlewareHandler. It either calls the next
// handler or returns an error for the site's error routes. With report_only a
// refused request goes on to the next handler as if there were no guard.
func (g *Guard) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	// All guards of a request share one identity: the first one takes the token
	// off, and the later ones must still see it.
	identity := requestIdentityOf(r)
	// With report_only the response header must look as if the guard had not
	// been there.
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
	case d.Err == guard.ErrTarget: // no backend may see such a request, with report_only neither
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
			defer watched.end() // the end of the response also ends the watch for a revocation
		}
	}
	err := next.ServeHTTP(out, r)
	if err != nil && identity.private { // what the error routes send is for one person, too
		identity.private = false
		w.Header().Add("Cache-Control", "private")
		addVary(w.Header(), g.credentials())
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

// refuse ends a request with an error: with a body of our own, or else by the
// site's error routes, from which the resource is hidden. The request's body is
// discarded first, because net/http would wait for it, however slowly it is sent.
func (g *Guard) refuse(w http.ResponseWriter, r *http.Request, err error) error {
	r.Header.Del("Authorization") // error routes may proxy, and must not forward the token
	r.Header.Del(g.TokenHeader)
	reqbody.Discard(w, r, caddy.Exiting)
	if g.sites.explain(g, w, r, err) {
		return nil
	}
	hide(r, err)
	return err
}

// refusal sets the headers of a refused request and returns its error, which Caddy
// hands to the site's handle_errors. The response to a challenge (RFC 6750 §3) must
// be readable for a page of an allowed origin, and must not be stored. Where nothing
// could be decided, because the store or the server is away, it is 503, never access;
// the outage is logged, unless the error is only that the client closed its connection.
func (g *Guard) refusal(w http.ResponseWriter, r *http.Request, d *guard.Decision) error {
	switch {
	case d.Challenge != nil:
		w.Header()["Www-Authenticate"] = d.Challenge.Headers
		w.Header().Set("Cache-Control", "no-store")
		if d.Origin != "" {
			allowOrigin(w.Header(), d.Origin)
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

// wrap returns the writer for the backend's response to a guarded request: CORS and
// cache headers are added to it, also for a request without an identity, and the
// response ends when the grant is revoked. A second guard of the same request need
// not watch the grant again: the stream is nil then, and where there is no grant.
func (g *Guard) wrap(
	identity *requestIdentity, w http.ResponseWriter, d *guard.Decision,
) (http.ResponseWriter, *stream) {
	if wrapped := g.wrapResponse(identity, w, d.Origin); wrapped != nil {
		w = wrapped
	}
	id := identity.Identity
	if g.app == nil || identity.watched || id == nil || id.Grant == (deviceauth.ID{}) {
		return w, nil
	}
	identity.watched = true
	s := g.app.issuerState.streams.begin(w, id.Grant)
	return s, s
}

// report logs a request that would have been refused, and undoes what the guard
// did to it: the response header is as before, and an identity that an earlier
// guard established stays.
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

// logRefusal counts why a token was refused, and logs it at debug level, with the
// token's identity where that is known. A token that lacks a scope is a valid
// token: its user is then also in the access log, as user_id.
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
	// At debug level only: a client that retries a bad token could otherwise
	// fill the log.
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
