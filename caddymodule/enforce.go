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

// What a guard does to a request.

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (g *Guard) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	who := requestIdentityOf(r)
	if len(g.matcher.sets) > 0 || g.isInBlock() { // a matcher judges the method and path that the request seems to have
		guard.StripOverrides(r, isTrusted(r))
	}
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
		reqbody.Discard(w, r, caddy.Exiting) // net/http would wait for it, however slowly it comes
		r.Header.Del("Authorization")        // a token that is good elsewhere is not the error page's
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
	defer end()
	err = next.ServeHTTP(admitted, r)
	if err != nil && who.private { // what error routes answer is for one person too
		who.private = false
		w.Header().Add("Cache-Control", "private")
		addVary(w.Header(), g.credentials())
	}
	return err
}

// admit decides on a request and makes it ready for the backend. It returns
// where the backend writes its answer, and what to call after that; nil where
// the guard has answered itself.
func (g *Guard) admit(who *requestIdentity, w http.ResponseWriter, r *http.Request) (http.ResponseWriter, func(), error) {
	if base, ok := g.describes(r); ok {
		g.describe(w, r, base)
		return nil, nil, nil
	}
	guarded, err := g.matcher.judge(r)
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

// at returns the guard made ready for the server, and what tells that the
// request has done with the server.
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

// enforce lets a guarded request through, or refuses it.
func (g *Guard) enforce(who *requestIdentity, w http.ResponseWriter, r *http.Request) (http.ResponseWriter, func(), error) {
	who.serve(r)
	tokenGuard, leave, err := g.at(r)
	if err != nil {
		return nil, nil, g.unable(w, r, err)
	}
	pass, err := g.check(tokenGuard, who, w, r)
	leave() // before the backend, which may take hours
	if err != nil || !pass {
		return nil, nil, err
	}
	if answer := g.answer(tokenGuard, who, w, r); answer != nil {
		w = answer
	}
	if g.app != nil && !who.watched && who.id != nil && who.id.Grant != (deviceauth.ID{}) {
		who.watched = true
		s := g.app.issuerState.streams.begin(w, who.id.Grant)
		return s, s.end, nil
	}
	return w, func() {}, nil
}

// report tells of a request that would have been refused, and makes it as if no
// guard had seen it.
func (g *Guard) report(who *requestIdentity, w http.ResponseWriter, r *http.Request, before http.Header, err error) {
	clear(w.Header())
	maps.Copy(w.Header(), before)
	if who.id != nil { // an earlier guard's word stands
		who.by.SetIdentityHeaders(r, who.id)
	}
	decided(decisionReported)
	g.log.Info("would be refused", zap.String("method", r.Method), zap.String("path", r.URL.Path), zap.Stringer("client_ip", clientIP(r)), zap.Error(err))
}

// check decides by the credentials of a request.
func (g *Guard) check(tokenGuard *guard.Guard, who *requestIdentity, w http.ResponseWriter, r *http.Request) (pass bool, err error) {
	if tokenGuard.Preflight(w.Header(), r) {
		decided(decisionPreflight)
		w.WriteHeader(http.StatusNoContent)
		return false, nil
	}
	if guard.IsPreflight(r) { // that is the backend's business
		guard.StripOverrides(r, isTrusted(r))
		decided(decisionPreflight)
		return true, nil
	}
	if g.Legacy != nil {
		if id := g.Legacy.admit(w, r, g.credentials()); id != nil {
			return g.byKey(tokenGuard, who, id, w, r)
		}
	}
	start := time.Now()
	id, token, err := tokenGuard.Authenticate(g.asked(r), who.token)
	guardSeconds.Observe(time.Since(start).Seconds())
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
	if id == nil {
		if who.id != nil { // an earlier guard knew it by an old key
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

// unable refuses a request on which the guard cannot decide.
func (g *Guard) unable(w http.ResponseWriter, r *http.Request, err error) error {
	decided(decisionUnavailable)
	if r.Context().Err() == nil { // a client that went away is no fault
		g.sites.fault(g.issuer(), err)
	}
	return unavailable(w, err)
}

// byKey lets somebody with an old API key through, if the key has the scopes.
func (g *Guard) byKey(tokenGuard *guard.Guard, who *requestIdentity, id *deviceauth.Identity, w http.ResponseWriter, r *http.Request) (pass bool, err error) {
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

// tell counts why a token is refused, and writes it to the log at debug level, with
// who asked where that is known. Of a token that lacks a scope the access log says
// who it was, too.
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
	fields := []zap.Field{
		zap.Int("status", c.Status), zap.String("method", r.Method), zap.String("path", r.URL.Path), zap.Stringer("client_ip", clientIP(r)), zap.Error(c),
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

// refuse goes through Caddy's handle_errors.
func refuse(tokenGuard *guard.Guard, w http.ResponseWriter, r *http.Request, c *guard.Challenge) error {
	w.Header()["Www-Authenticate"] = c.Headers
	w.Header().Set("Cache-Control", "no-store")
	if origin, ok := tokenGuard.Origin(r); ok {
		allowOrigin(w.Header(), origin)
	}
	return caddyhttp.Error(c.Status, c)
}
