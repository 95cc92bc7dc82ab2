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
)

// What a guard does to a request, in the order of guard.Middleware. The handler
// maps the decision to Caddy's handle_errors, metrics, log and placeholders;
// what a token is good for is decided by guard.Guard.

// ServeHTTP implements caddyhttp.MiddlewareHandler. It cleans the request,
// decides, and either calls the next handler or returns an error for the site's
// error routes. With report_only a refused request goes on to the next handler
// as if there were no guard.
func (g *Guard) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	// All guards of a request share one identity: the first one takes the token
	// off, and the later ones must still see it.
	identity := requestIdentityOf(r)
	// A matcher judges method and path, so headers that override either for the
	// backend, such as X-Http-Method-Override, must go before.
	if len(g.matcher.sets) > 0 || g.isInBlock() {
		guard.StripOverrides(r, isTrusted(r))
	}
	// Nothing has been decided yet. A request that proxies and backends could
	// read differently must not reach the matchers.
	if err := identity.sanitize(r, g.reserved); err != nil {
		identity.servePlaceholders(r)
		countDecision(decisionMalformed)
		return g.refuse(w, r, caddyhttp.Error(http.StatusBadRequest, err))
	}
	// With report_only the response header must look as if the guard had not
	// been there.
	var before http.Header
	if g.ReportOnly {
		before = w.Header().Clone()
	}
	admitted, end, err := g.admit(identity, w, r)
	switch {
	case err != nil && g.ReportOnly:
		g.report(identity, w, r, before, err)
		return next.ServeHTTP(w, r)
	case err != nil:
		r.Header.Del("Authorization") // error routes may proxy, and must not forward the token
		r.Header.Del(g.TokenHeader)
		return g.refuse(w, r, err)
	case admitted == nil:
		reqbody.Discard(w, r, caddy.Exiting)
		return nil
	}
	// The end of the response also ends the watch for a revocation.
	defer end()
	err = next.ServeHTTP(admitted, r)
	if err != nil && identity.private { // what the error routes send is for one person, too
		identity.private = false
		w.Header().Add("Cache-Control", "private")
		addVary(w.Header(), g.credentials())
	}
	return err
}

// refuse ends a request with an error: with a body of our own, or else by the
// site's error routes, from which the resource is hidden. The request's body is
// discarded first, because net/http would wait for it, however slowly it is sent.
func (g *Guard) refuse(w http.ResponseWriter, r *http.Request, err error) error {
	reqbody.Discard(w, r, caddy.Exiting)
	if g.sites.explain(g, w, r, err) {
		return nil
	}
	hide(r, err)
	return err
}

// admit decides on a request and prepares it for the backend. It returns the
// writer for the backend's response, and a function to call after that response.
// The writer is nil where the guard has answered the request itself: metadata,
// or a preflight.
func (g *Guard) admit(
	identity *requestIdentity, w http.ResponseWriter, r *http.Request,
) (http.ResponseWriter, func(), error) {
	// Metadata is public (RFC 9728 §3): a client asks for it before it has a
	// token.
	if base, ok := g.describes(r); ok {
		g.describe(w, r, base)
		return nil, nil, nil
	}
	guarded, err := g.matcher.judge(r)
	// An ambiguous request is the client's mistake; an error of a matcher, for
	// instance of a placeholder that cannot be resolved, is an outage.
	switch {
	case deviceauth.AsError(err) != nil:
		identity.servePlaceholders(r)
		countDecision(decisionMalformed)
		return nil, nil, caddyhttp.Error(http.StatusBadRequest, err)
	case err != nil:
		return nil, nil, g.unavailable(w, r, err)
	case !guarded:
		return w, func() {}, nil
	}
	return g.enforce(identity, w, r)
}

// tokenGuardFor returns the token guard that decides, and a function to call when the
// decision has been made: until then it keeps the store open. A guard whose
// server is elsewhere has one token guard for good.
func (g *Guard) tokenGuardFor(r *http.Request) (tokenGuard *guard.Guard, release func(), err error) {
	if g.Edge != nil {
		return g.remote, func() {}, nil
	}
	s, release, err := g.app.serving(r)
	if err != nil {
		return nil, nil, err
	}
	return s.guard(g), release, nil
}

// enforce decides on a request that the matchers have found to be guarded.
func (g *Guard) enforce(
	identity *requestIdentity, w http.ResponseWriter, r *http.Request,
) (http.ResponseWriter, func(), error) {
	identity.servePlaceholders(r)
	tokenGuard, release, err := g.tokenGuardFor(r)
	if err != nil {
		return nil, nil, g.unavailable(w, r, err)
	}
	pass, err := g.check(tokenGuard, identity, w, r)
	release() // before the backend responds, which may take hours
	if err != nil || !pass {
		return nil, nil, err
	}
	// CORS and cache headers are added to the backend's response, also to one
	// for a request without an identity.
	if wrapped := g.wrapResponse(tokenGuard, identity, w, r); wrapped != nil {
		w = wrapped
	}
	// The response ends when the grant is revoked. A second guard of the same
	// request need not watch it again.
	if g.app != nil && !identity.watched && identity.id != nil && identity.id.Grant != (deviceauth.ID{}) {
		identity.watched = true
		s := g.app.issuerState.streams.begin(w, identity.id.Grant)
		return s, s.end, nil
	}
	return w, func() {}, nil
}

// report logs a request that would have been refused, and undoes what the guard
// did to it: the response header is as before, and an identity that an earlier
// guard established stays.
func (g *Guard) report(
	identity *requestIdentity, w http.ResponseWriter, r *http.Request, before http.Header, err error,
) {
	clear(w.Header())
	maps.Copy(w.Header(), before)
	if identity.id != nil {
		identity.by.SetIdentityHeaders(r, identity.id)
	}
	countDecision(decisionReported)
	g.log.Info("would be refused", zap.String("method", r.Method), zap.String("path", r.URL.Path),
		zap.Stringer("client_ip", clientIP(r)), zap.Error(err))
}

// check decides by the credentials of a request, in the guard's fixed order:
// CORS preflight, old API key, bearer token (RFC 6750). It reports pass where
// the request may go to the backend; without pass and without an error the
// request has been answered. The token that an earlier guard took off the
// request is used if the request has none any more.
func (g *Guard) check(
	tokenGuard *guard.Guard, identity *requestIdentity, w http.ResponseWriter, r *http.Request,
) (pass bool, err error) {
	if tokenGuard.Preflight(w.Header(), r) {
		countDecision(decisionPreflight)
		w.WriteHeader(http.StatusNoContent)
		return false, nil
	}
	if guard.IsPreflight(r) { // `preflight pass`: the backend answers it, and it carries no credentials
		guard.StripOverrides(r, isTrusted(r))
		countDecision(decisionPreflight)
		return true, nil
	}
	if g.Legacy != nil {
		if id := g.Legacy.admit(w, r, g.credentials()); id != nil {
			return g.checkKey(tokenGuard, identity, id, w, r)
		}
	}
	start := time.Now()
	id, token, err := tokenGuard.Authenticate(g.challengedRequest(r), identity.token)
	guardSeconds.Observe(time.Since(start).Seconds())
	// The token is kept for the guards that follow: this one may have taken it
	// off the request.
	if token != "" {
		identity.token = token
	}
	var challenge *guard.Challenge
	switch {
	case errors.As(err, &challenge):
		countDecision(decisionOf(challenge))
		g.logRefusal(identity, r, challenge)
		return false, challengeError(tokenGuard, w, r, challenge)
	case err != nil:
		return false, g.unavailable(w, r, err)
	}
	// Without an error and without an identity, `optional` let the request
	// through as anonymous.
	if id == nil {
		if identity.id != nil { // an earlier guard admitted an old key that this guard does not accept
			g.reserved.Strip(r)
			identity.id = nil
		}
		countDecision(decisionAnonymous)
		return true, nil
	}
	countDecision(decisionAdmitted)
	identity.set(id, tokenGuard, r)
	return true, nil
}

// unavailable refuses a request on which the guard cannot decide, because the store
// or the server is away: 503, never access. The outage is logged, unless the
// error is only that the client closed its connection.
func (g *Guard) unavailable(w http.ResponseWriter, r *http.Request, err error) error {
	countDecision(decisionUnavailable)
	if r.Context().Err() == nil {
		g.sites.fault(g.issuer(), err)
	}
	return unavailable(w, err)
}

// checkKey decides on a request with an old API key: a key that lists scopes must
// have all that the guard asks for.
func (g *Guard) checkKey(
	tokenGuard *guard.Guard, identity *requestIdentity, id *deviceauth.Identity, w http.ResponseWriter, r *http.Request,
) (pass bool, err error) {
	if id.Scope != "" && !tokenGuard.Covers(id.Scope) {
		challenge := tokenGuard.Forbid(r, id)
		countDecision(decisionOf(challenge))
		g.logRefusal(identity, r, challenge)
		return false, challengeError(tokenGuard, w, r, challenge)
	}
	countDecision(decisionLegacy)
	legacyUses.WithLabelValues(id.ClientID).Inc()
	identity.set(id, tokenGuard, r)
	return true, nil
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
		zap.Int("status", c.Status), zap.String("method", r.Method), zap.String("path", r.URL.Path),
		zap.Stringer("client_ip", clientIP(r)), zap.Error(c),
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

// challengeError sets the headers of a challenge (RFC 6750 §3) and returns its error,
// which Caddy hands to the site's handle_errors. The error response must be
// readable for a page of an allowed origin, and must not be stored.
func challengeError(tokenGuard *guard.Guard, w http.ResponseWriter, r *http.Request, c *guard.Challenge) error {
	w.Header()["Www-Authenticate"] = c.Headers
	w.Header().Set("Cache-Control", "no-store")
	if origin, ok := tokenGuard.Origin(r); ok {
		allowOrigin(w.Header(), origin)
	}
	return caddyhttp.Error(c.Status, c)
}
