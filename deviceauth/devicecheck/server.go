package devicecheck

import (
	"net/url"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/deviceclient"
	"github.com/deviceauth/caddy-deviceauth/internal/discovery"
)

// serverReach finds the issuer of the target, and checks that it can be reached. It
// takes the first of these, in order of trust: the metadata found at the URL itself,
// the URL if it is an issuer's, the resource metadata (RFC 9728 §2), the realm of the
// challenge, and the API's own origin. It asks only an address to which a client may
// be led, see deviceclient.MayLead: an API on the network must not make the check
// send requests to this machine.
func (r *run) serverReach() finding {
	origin := r.target.Scheme + "://" + r.target.Host
	switch {
	case r.ownMetadata != nil && strings.TrimSuffix(r.ownMetadata.Issuer, "/") == strings.TrimSuffix(r.cfg.URL, "/"):
		r.issuer = r.ownMetadata.Issuer // not the URL as typed, which may differ in the slash at the end
	case r.ownMetadata != nil:
		r.issuer = strings.TrimSuffix(r.cfg.URL, "/")
	case r.site != nil && len(r.site.Servers) > 0:
		r.issuer = r.site.Servers[0]
	case discovery.CheckIssuer(r.realm) == nil:
		r.issuer = r.realm // our guards put the issuer there
	default:
		r.issuer = origin
	}
	u, err := url.Parse(r.issuer)
	switch {
	case err != nil || !deviceclient.MayLead(r.target, u):
		return found("the API names %q as its server", quote(r.issuer)).
			fail("Let the `issuer` in the global `device_login` block be an https URL; http, and a loopback host at " +
				"all, is only for an API that is on one.")
	case u.Host == r.target.Host:
		return pass("the server is %s", quote(r.issuer))
	}
	f := pass("the server is %s", quote(r.issuer))
	if u.Scheme == "https" && proxyTo(u) == "" {
		f = worst(r.certificate(u), f)
	}
	if a := r.ask(wellKnown(u, oauthName, true)); a.err != nil {
		return about("the server "+quote(r.issuer), explain(a.err))
	}
	return f
}

// mayLead reports whether a request may go to an address that came from the server.
// Devices follow the same rule, so a server that passes here also works there.
func (r *run) mayLead(address string) bool {
	from, err := url.Parse(r.issuer)
	to, addressErr := url.Parse(address)
	return err == nil && addressErr == nil && deviceclient.MayLead(from, to)
}

// atIssuer reports whether an address belongs to the issuer's site.
func (r *run) atIssuer(address string) bool {
	issuer, err := url.Parse(r.issuer)
	return err == nil && r.mayLead(address) && sameOrigin(address, issuer)
}
