package blackbox

import (
	"net/url"
	"strings"
)

// serverReach finds out which server it is, and whether one can get there.
func (r *run) serverReach() finding {
	origin := r.target.Scheme + "://" + r.target.Host
	switch {
	case r.own != nil && strings.TrimSuffix(r.own.Issuer, "/") == strings.TrimSuffix(r.cfg.URL, "/"):
		r.issuer = r.own.Issuer // whether it ends in a slash is its own affair; a person typed the other
	case r.own != nil:
		r.issuer = strings.TrimSuffix(r.cfg.URL, "/")
	case r.site != nil && len(r.site.Servers) > 0:
		r.issuer = r.site.Servers[0]
	default:
		r.issuer = origin
	}
	u, err := url.Parse(r.issuer)
	switch {
	case err != nil || u.Host == "" || !secure(u):
		return found("the API names %q as its server", quote(r.issuer)).fails("Let the `issuer` in the global `device_login` block be an https URL; http is only for a loopback host.")
	case u.Host == r.target.Host:
		return well("the server is %s", r.issuer)
	}
	f := well("the server is %s", r.issuer)
	if u.Scheme == "https" && proxyTo(u) == "" {
		f = worst(r.certificate(u), f)
	}
	if a := r.ask(wellKnown(u, oauthName, true)); a.err != nil {
		return about("the server "+r.issuer, trouble(a.err))
	}
	return f
}
