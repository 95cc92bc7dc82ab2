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
	who := requestIdentityOf(r)
	// A matcher judges method and path, so headers that override either for the
	// backend, such as X-Http-Method-Override, must go before.
	if len(g.matcher.sets) > 0 || g.isInBlock() {
		guard.StripOverrides(r, isTrusted(r))
	}
	// Nothing has been decided yet. A request that proxies and backends could
	// read differently must not reach the matchers.
	if err := who.enter(r, g.reserved); err != nil {
		who.serve(r)
		decided(decisionMalformed)
		reqbody.Discard(w, r, caddy.Exiting)
		if err = caddyhttp.Error(http.StatusBadRequest, err); g.sites.explain(g, w, r, err) {
			return nil
		}
		hide(r, err)
		return err
	}
	// With report_only the response header must look as if the guard had not
	// been there.
	var before http.Header
	if g.ReportOnly {
		before = w.Header().Clone()
	}
	admitted, end, err := g.admit(who, w, r)
	switch {
	case err != nil && g.ReportOnly:
		g.report(who, w, r, before, err)
		return next.ServeHTTP(w, r)
	case err != nil:
		reqbody.Discard(w, r, caddy.Exiting) // net/http would wait for the body, however slowly it is sent
		r.Header.Del("Authorization")        // error routes may proxy, and must not forward the token
		r.Header.Del(g.TokenHeader)
		if g.sites.explain(g, w, r, err) {
			return nil
		}
		hide(r, err)
		return err
	case admitted == nil:
		reqbody.Discard(w, r, caddy.Exiting)
		return nil
	}
	// The end of the response also ends the watch for a revocation.
	defer end()
	err = next.ServeHTTP(admitted, r)
	if err != nil && who.private { // what the error routes send is for one person, too
		who.private = false
		w.Header().Add("Cache-Control", "private")
		addVary(w.Header(), g.credentials())
	}
	return err
}

// admit decides on a request and prepares it for the backend. It returns the
// writer for the backend's response, and a function to call after that response.
// The writer is nil where the guard has answered the request itself: metadata,
// or a preflight.
func (g *Guard) admit(
	who *requestIdentity, w http.ResponseWriter, r *http.Request,
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
		who.serve(r)
		decided(decisionMalformed)
		return nil, nil, caddyhttp.Error(http.StatusBadRequest, err)
	case err != nil:
		return nil, nil, g.unable(w, r, err)
	case !guarded:
		return w, func() {}, nil
	}
	return g.enforce(who, w, r)
}

// at returns the token guard that decides, and a function to call when the
// decision has been made: until then it keeps the store open. A guard whose
// server is elsewhere has one token guard for good.
func (g *Guard) at(r *http.Request) (tokenGuard *guard.Guard, leave func(), err error) {
	if g.Edge != nil {
		return g.remote, func() {}, nil
	}
	s, leave, err := g.app.serving(r)
	if err != nil {
		return nil, nil, err
	}
	return s.guard(g), leave, nil
}

// enforce decides on a request that the matchers have found to be guarded.
func (g *Guard) enforce(
	who *requestIdentity, w http.ResponseWriter, r *http.Request,
) (http.ResponseWriter, func(), error) {
	who.serve(r)
	tokenGuard, leave, err := g.at(r)
	if err != nil {
		return nil, nil, g.unable(w, r, err)
	}
	pass, err := g.check(tokenGuard, who, w, r)
	leave() // before the backend responds, which may take hours
	if err != nil || !pass {
		return nil, nil, err
	}
	// CORS and cache headers are added to the backend's response, also to one
	// for a request without an identity.
	if answer := g.answer(tokenGuard, who, w, r); answer != nil {
		w = answer
	}
	// The response ends when the grant is revoked. A second guard of the same
	// request need not watch it again.
	if g.app != nil && !who.watched && who.id != nil && who.id.Grant != (deviceauth.ID{}) {
		who.watched = true
		s := g.app.issuerState.streams.begin(w, who.id.Grant)
		return s, s.end, nil
	}
	return w, func() {}, nil
}

// report logs a request that would have been refused, and undoes what the guard
// did to it: the response header is as before, and an identity that an earlier
// guard established stays.
func (g *Guard) report(
	who *requestIdentity, w http.ResponseWriter, r *http.Request, before http.Header, err error,
) {
	clear(w.Header())
	maps.Copy(w.Header(), before)
	if who.id != nil {
		who.by.SetIdentityHeaders(r, who.id)
	}
	decided(decisionReported)
	g.log.Info("would be refused", zap.String("method", r.Method), zap.String("path", r.URL.Path),
		zap.Stringer("client_ip", clientIP(r)), zap.Error(err))
}

// check decides by the credentials of a request, in the guard's fixed order:
// CORS preflight, old API key, bearer token (RFC 6750). It reports pass where
// the request may go to the backend; without pass and without an error the
// request has been answered. The token that an earlier guard took off the
// request is used if the request has none any more.
func (g *Guard) check(
	tokenGuard *guard.Guard, who *requestIdentity, w http.ResponseWriter, r *http.Request,
) (pass bool, err error) {
	if tokenGuard.Preflight(w.Header(), r) {
		decided(decisionPreflight)
		w.WriteHeader(http.StatusNoContent)
		return false, nil
	}
	if guard.IsPreflight(r) { // `preflight pass`: the backend answers it, and it carries no credentials
		guard.StripOverrides(r, isTrusted(r))
		decided(decisionPreflight)
		return true, nil
	}
	// An old API key is tried before the token, because a request with a known
	// key and without a token is complete.
	if g.Legacy != nil {
		if id := g.Legacy.admit(w, r, g.credentials()); id != nil {
			return g.byKey(tokenGuard, who, id, w, r)
		}
	}
	// The duration includes the store's, which is asked on every request whether
	// the grant is still active.
	start := time.Now()
	id, token, err := tokenGuard.Authenticate(g.asked(r), who.token)
	guardSeconds.Observe(time.Since(start).Seconds())
	// The token is kept for the guards that follow: this one may have taken it
	// off the request.
	if token != "" {
		who.token = token
	}
	var challenge *guard.Challenge
	switch {
	case errors.As(err, &challenge):
		decided(decisionOf(challenge))
		g.tell(who, r, challenge)
		return false, refuse(tokenGuard, w, r, challenge)
	case err != nil:
		return false, g.unable(w, r, err)
	}
	// Without an error and without an identity, `optional` let the request
	// through as anonymous.
	if id == nil {
		if who.id != nil { // an earlier guard admitted an old key that this guard does not accept
			g.reserved.Strip(r)
			who.id = nil
		}
		decided(decisionAnonymous)
		return true, nil
	}
	decided(decisionAdmitted)
	who.set(id, tokenGuard, r)
	return true, nil
}

// unable refuses a request on which the guard cannot decide, because the store
// or the server is away: 503, never access. The outage is logged, unless the
// error is only that the client closed its connection.
func (g *Guard) unable(w http.ResponseWriter, r *http.Request, err error) error {
	decided(decisionUnavailable)
	if r.Context().Err() == nil {
		g.sites.fault(g.issuer(), err)
	}
	return unavailable(w, err)
}

// byKey decides on a request with an old API key: a key that lists scopes must
// have all that the guard asks for.
func (g *Guard) byKey(
	tokenGuard *guard.Guard, who *requestIdentity, id *deviceauth.Identity, w http.ResponseWriter, r *http.Request,
) (pass bool, err error) {
	if id.Scope != "" && !tokenGuard.Covers(id.Scope) {
		challenge := tokenGuard.Forbid(r, id)
		decided(decisionOf(challenge))
		g.tell(who, r, challenge)
		return false, refuse(tokenGuard, w, r, challenge)
	}
	decided(decisionLegacy)
	legacyUses.WithLabelValues(id.ClientID).Inc()
	who.set(id, tokenGuard, r)
	return true, nil
}

// tell counts why a token was refused, and logs it at debug level, with the
// token's identity where that is known. A token that lacks a scope is a valid
// token: its user is then also in the access log, as user_id.
func (g *Guard) tell(who *requestIdentity, r *http.Request, c *guard.Challenge) {
	var refused *deviceauth.TokenError
	if errors.As(c, &refused) {
		tokensRefused.WithLabelValues(refused.Reason).Inc()
		if refused.Reason == deviceauth.TokenScope {
			who.lacking = refused.Identity
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
	if refused != nil {
		fields = append(fields, zap.String("reason", refused.Reason))
		if id := refused.Identity; id != nil {
			fields = append(fields, zap.String("user", id.Claim("user")), zap.String("subject", id.Claim("sub")),
				zap.String("client_id", id.ClientID), zap.Stringer("grant", id.Grant))
		}
	}
	entry.Write(fields...)
}

// refuse sets the headers of a challenge (RFC 6750 §3) and returns its error,
// which Caddy hands to the site's handle_errors. The error response must be
// readable for a page of an allowed origin, and must not be stored.
func refuse(tokenGuard *guard.Guard, w http.ResponseWriter, r *http.Request, c *guard.Challenge) error {
	w.Header()["Www-Authenticate"] = c.Headers
	w.Header().Set("Cache-Control", "no-store")
	if origin, ok := tokenGuard.Origin(r); ok {
		allowOrigin(w.Header(), origin)
	}
	return caddyhttp.Error(c.Status, c)
}
