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
	"github.com/deviceauth/caddy-deviceauth/deviceauth/httpapi"
	"github.com/deviceauth/caddy-deviceauth/internal/reqbody"
)

// What a guard does to a request.

// at returns the guard made ready for the server, who describes the guarded
// site, and what tells that the request has done with the server.
func (g *Guard) at(w http.ResponseWriter, r *http.Request) (sentry *httpapi.Sentry, site httpapi.Resource, leave func(), err error) {
	if g.Edge != nil {
		return g.sentry, g.site, func() {}, nil
	}
	s, leave, err := g.app.serving(w, r)
	if err != nil {
		return nil, site, nil, err
	}
	return s.sentry(g), g.app.site(s), leave, nil
}

var errDots = errors.New("the path has a dot segment")

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (g *Guard) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	g.owned.Strip(r)
	if g.ReportOnly {
		return g.report(w, r, next)
	}
	return g.enforce(w, r, next)
}

func (g *Guard) enforce(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	who := visitorOf(r)
	if ambiguous(r.URL.Path) {
		decided(decisionMalformed)
		g.ignore(w, r)
		return caddyhttp.Error(http.StatusBadRequest, errDots)
	}
	sentry, site, leave, err := g.at(w, r)
	if err != nil {
		decided(decisionUnavailable)
		g.ignore(w, r)
		return err
	}
	if describesResource(r) {
		leave()
		g.ignore(w, r)
		site.ServeHTTP(w, came(r))
		return nil
	}
	pass, err := g.check(sentry, who, w, r)
	leave() // before the backend, which may take hours
	if err != nil || !pass {
		g.ignore(w, r)
		return err
	}
	if origin, ok := sentry.Origin(r); ok {
		w = &corsWriter{ResponseWriterWrapper: caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, origin: origin}
	}
	if g.app != nil && !who.watched && who.id != nil && who.id.Grant != (deviceauth.ID{}) {
		who.watched = true
		s := g.app.line.streams.begin(w, who.id.Grant)
		defer s.end()
		w = s
	}
	return next.ServeHTTP(w, r)
}

// ignore is for the body of a request that the guard answers itself. One that
// comes slowly must hold nothing up.
func (g *Guard) ignore(w http.ResponseWriter, r *http.Request) {
	if !g.ReportOnly { // the backend gets it
		reqbody.Discard(w, r, caddy.Exiting)
	}
}

// report lets a request through that would be refused, as if no guard had seen
// it.
func (g *Guard) report(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	header, passed := w.Header().Clone(), false
	err := g.enforce(w, r, caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		passed = true
		return next.ServeHTTP(w, r)
	}))
	if err == nil || passed {
		return err
	}
	clear(w.Header())
	maps.Copy(w.Header(), header)
	if who := visitorOf(r); who.id != nil { // an earlier guard's word stands
		who.by.Identify(r, who.id)
	}
	decided(decisionReported)
	g.log.Info("would be refused", zap.String("method", r.Method), zap.String("path", r.URL.Path), zap.Stringer("client_ip", clientIP(r)), zap.Error(err))
	return next.ServeHTTP(w, r)
}

// check decides on the request and makes it ready for the backend.
func (g *Guard) check(sentry *httpapi.Sentry, who *visitor, w http.ResponseWriter, r *http.Request) (pass bool, err error) {
	if sentry.Preflight(w.Header(), r) {
		decided(decisionPreflight)
		w.WriteHeader(http.StatusNoContent)
		return false, nil
	}
	if httpapi.IsPreflight(r) { // that is the backend's business
		httpapi.StripOverrides(r)
		decided(decisionPreflight)
		return true, nil
	}
	if g.Legacy != nil && g.Legacy.admit(sentry, who, w, r) {
		return true, nil
	}
	start := time.Now()
	id, token, err := sentry.Admit(came(r), who.token)
	guardSeconds.Observe(time.Since(start).Seconds())
	if token != "" {
		who.token = token
	}
	var challenge *httpapi.Challenge
	switch {
	case errors.As(err, &challenge):
		decided(decisionOf(challenge))
		return false, refuse(sentry, w, r, challenge)
	case err != nil:
		decided(decisionUnavailable)
		return false, unavailable(w, err)
	}
	if id == nil {
		who.id = nil // whom an earlier guard may have known by an old key
		decided(decisionAnonymous)
		return true, nil
	}
	decided(decisionAdmitted)
	who.is(id, sentry, r)
	return true, nil
}

// refuse goes through Caddy's handle_errors.
func refuse(sentry *httpapi.Sentry, w http.ResponseWriter, r *http.Request, c *httpapi.Challenge) error {
	w.Header().Set("WWW-Authenticate", c.Header)
	w.Header().Set("Cache-Control", "no-store")
	if origin, ok := sentry.Origin(r); ok {
		allowOrigin(w.Header(), origin)
	}
	return caddyhttp.Error(c.Status, c)
}
