package devicecheck

import (
	"context"
	"net/http"
	"slices"
	"time"
)

// The checks in this file refresh a token and revoke it.

// loginRefresh refreshes once and compares the refresh tokens, because a server
// notices a stolen refresh token by rotation (RFC 9700 §4.14.2). The later checks use
// the new access token.
func (r *run) loginRefresh() finding {
	before := r.login.Refresh
	if before == "" {
		return skip("no refresh token was given; ask for one by --scope offline_access")
	}
	a := r.asClient(r.server.Token, "grant_type", "refresh_token", "refresh_token", before)
	after, ok := r.login.record(a)
	switch {
	case a.err != nil:
		return about(a.asked, explain(a.err))
	case !ok:
		return found("%s, to the refresh token just given", a).
			fail("Devices lose their connection when the access token ends. With several gateways: all of them need " +
				"the same `store redis`. Else Caddy's log says why.")
	case a.cacheable():
		return found("%s with Cache-Control %q, and tokens in it", a, quote(a.header.Get("Cache-Control"))).
			fail("The server sends no-store (RFC 6749 §5.1); look for a CDN's rule that changes it.")
	}
	r.login.Access = after.Access
	if after.Refresh == "" || after.Refresh == before {
		return found("the refresh token is not replaced by a refresh").
			warn("RFC 9700 §4.14.2 wants that for public clients. Ours does; look for rotation in the settings of " +
				"this product.")
	}
	return pass("a refresh gave a successor")
}

// revokeWait is the time within which a revoked token must be refused. No RFC demands
// it; our documentation promises it.
const revokeWait = time.Second

// loginRevoke revokes all tokens of the login (RFC 7009). It accepts
// unsupported_token_type (RFC 7009 §2.2.1), because a server need not be able to
// revoke access tokens. If the API accepted the token before, the check requires that
// it refuses the token afterwards.
func (r *run) loginRevoke() finding {
	if r.server.Revocation == "" {
		return found("the server cannot revoke: its metadata have no revocation_endpoint").
			warn("A lost device stays connected until its tokens end. Ours has one; with this product see " +
				"its settings.")
	}
	for _, a := range r.revoke(r.ctx) {
		if a.err != nil {
			f := about(a.asked, explain(a.err))
			f.remedy = join(f.remedy, "Some token may still be good until it ends.")
			return f
		}
		if !a.ok() && a.refusal().Error != "unsupported_token_type" {
			return found("%s", a).
				fail("RFC 7009 §2.2 wants 200. Some token may still be good: look in Caddy's log, and end the grant "+
					"by `caddy device-auth revoke --client %s`.", r.cfg.ClientID)
		}
	}
	if !r.login.accepted {
		return pass("the tokens were revoked")
	}
	return r.untilRefused()
}

// untilRefused polls the API every 50 ms until it refuses the token, for revokeWait
// at most. A token that is still accepted is only a warning: no RFC sets a time, and
// a self-contained token may be accepted until its exp.
func (r *run) untilRefused() finding {
	start := time.Now()
	for {
		a := r.callAPI(r.login.Access)
		took := time.Since(start)
		switch {
		case a.err != nil:
			return found("the tokens were revoked, and whether the API heard of it could not be seen: %s", a).
				warn("%s", explain(a.err).remedy)
		case a.status == http.StatusUnauthorized:
			return pass("the API refused the token %v after its revocation", took.Round(time.Millisecond))
		case took > revokeWait:
			return found("%s, %v after the token was revoked", a, took.Round(time.Millisecond)).
				warn("A lost device would go on until its token ends. A guard in another Caddy asks every `cache` " +
					"(500ms is the default); gateways that share a `store redis` hear it at once. Other guards may " +
					"look at nothing but the token's signature.")
		}
		select {
		case <-r.ctx.Done():
		case <-time.After(50 * time.Millisecond): // limits the load on the API
		}
	}
}

// revoke revokes all tokens that were issued (RFC 7009), the refresh tokens first,
// because revoking them also ends the tokens that came from them. It works on a copy
// of the run with the given context, because the run's own context may have ended.
func (r *run) revoke(ctx context.Context) (all []*answer) {
	r.login.mu.Lock()
	given := slices.Clone(r.login.given)
	r.login.revoked = true
	r.login.mu.Unlock()
	last := *r
	last.ctx = ctx
	for _, token := range given {
		all = append(all, last.asClient(r.server.Revocation, "token", token))
	}
	return all
}

// revokeRest revokes the tokens of a run that ended before loginRevoke, also by an
// interrupt. It has requestTimeout for all tokens together and reports nothing: the
// results are complete, or the operator has interrupted the run.
func (r *run) revokeRest() {
	r.login.mu.Lock()
	left := !r.login.revoked && len(r.login.given) > 0
	r.login.mu.Unlock()
	if !left || r.server.Revocation == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), requestTimeout)
	defer cancel()
	r.revoke(ctx)
}
