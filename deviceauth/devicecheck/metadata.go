package devicecheck

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// The server's metadata: RFC 8414, and OpenID Connect Discovery.

// metadataOAuth looks at both places: either will do for most clients.
func (r *run) metadataOAuth() finding {
	u, _ := url.Parse(r.issuer) // serverReach has
	oauth := r.ask(wellKnown(u, oauthName, true))
	openID := r.ask(strings.TrimSuffix(r.issuer, "/") + openIDName)
	for _, a := range []*answer{oauth, openID} {
		if d := a.document(); d != nil && d.Token+d.DeviceAuthorization+d.Issuer != "" {
			r.documents = append(r.documents, d)
		}
		r.places = append(r.places, a)
	}
	if len(r.documents) > 0 {
		r.server = r.documents[0]
	}
	switch {
	case r.server == nil:
		return found("%s; %s; neither has metadata in JSON", oauth, openID).
			fails("Where Caddy is the server: put `device_login` into the site named %s, outside of every `handle`, "+
				"and let no other directive take /.well-known/. Otherwise check the URL: it is to be a guarded API's, "+
				"or the server's issuer.", quote(u.Host))
	case r.server.said != oauth:
		return found("%s", oauth).warns(
			"Clients that know only RFC 8414 do not find the server. Behind a proxy, and with an issuer that has a "+
				"path, pass %s%s on, too: that name comes before the path.", oauthName, quote(u.Path))
	}
	return well("%s", oauth)
}

func (r *run) metadataOpenID() finding {
	if a := r.places[1]; r.documents[len(r.documents)-1].said != a {
		return found("%s", a).
			warns("Clients that know only OpenID Connect Discovery do not find the server: pass this path on to it.")
	}
	return well("%s", r.places[1])
}

func (r *run) metadataType() finding {
	var all []finding
	for _, d := range r.documents {
		if d.said.kind() != "application/json" {
			all = append(all, found("%s; RFC 8414 §3.2 wants application/json", d.said).
				fails("Look for a `header Content-Type` in the Caddyfile, or a proxy that sets it."))
		}
	}
	return worst(append(all, well("they are JSON"))...)
}

func (r *run) metadataIssuer() finding {
	for _, d := range r.documents {
		switch {
		case d.Issuer == r.issuer:
		case strings.TrimSuffix(d.Issuer, "/") == strings.TrimSuffix(r.issuer, "/"):
			return found("%s says that the issuer is %s, and it was found as %s: the slash counts (RFC 8414 §3.3)",
				d.said.asked, quote(d.Issuer), quote(r.issuer)).
				fails("Write the issuer the same way everywhere: in the `issuer` line of `device_login`, in that of " +
					"guards in other Caddys, and in your clients.")
		default:
			return found("%s says that the issuer is %s, and it was asked as %s; clients must stop there (RFC "+
				"8414 §3.3)", d.said.asked, quote(d.Issuer), quote(r.issuer)).
				fails("If people and devices come by %s, let the global `device_login` block say `issuer %s`; else "+
					"give %s to clients, and to this command.", quote(r.issuer), quote(r.issuer), quote(d.Issuer))
		}
	}
	return well("the issuer is %s", quote(r.issuer))
}

func (r *run) metadataEndpoints() finding {
	issuer, _ := url.Parse(r.issuer)
	var all []finding
	for i, e := range r.server.endpoints() {
		switch {
		case e[1] == "" && i < 2:
			all = append(all, found("the metadata have no %s", e[0]).
				fails("Without it there is no device flow (RFC 8628 §4). Look whether this is the server you mean, "+
					"and whether the product has the flow switched off."))
		case e[1] != "":
			all = append(all, r.endpoint(e[0], e[1]))
		}
	}
	return worst(append(all, well("the endpoints are %s's own", quote(issuer.Host)))...)
}

// endpoint judges an address before anything is sent there: metadata are what
// the server says, and it may say anything.
func (r *run) endpoint(name, address string) finding {
	switch {
	case !r.leads(address):
		return found("the %s is %s, which is not https, or is on this machine and the issuer is not; nothing is "+
			"sent there", name, quote(address)).
			fails("Let the `issuer` say https; endpoints follow it. Behind a proxy that ends TLS, the issuer is the " +
				"address at the proxy.")
	case r.atIssuer(address):
		return well("")
	case r.cfg.ClientSecret != "" && slices.Contains(secretEndpoints, name):
		return found("the %s is %s, on another origin than the issuer; the client's secret is not sent there", name,
			quote(address)).
			fails("If it is ours, a proxy rewrites its answers: take that out. Other products may do that: " +
				"check them with a client that has no secret.")
	}
	return found("the %s is %s, on another origin than the issuer", name, quote(address)).
		warns("A server may do that; ours does not. If it is ours, a proxy rewrites its answers: take that out.")
}

// secretEndpoints are those that a client names itself at.
var secretEndpoints = []string{"device_authorization_endpoint", "token_endpoint", "revocation_endpoint"}

func (r *run) metadataGrants() finding {
	if !slices.Contains(r.server.Grants, grantDeviceCode) {
		return found("grant_types_supported is %s, without %s", quote(fmt.Sprint(r.server.Grants)), grantDeviceCode).
			fails("RFC 8628 §4 wants it there. With Caddy it always is: look whether this is the server you mean. " +
				"With other products switch the device grant on.")
	}
	return well("the device grant is offered")
}

func (r *run) metadataCORS() finding {
	var all []finding
	places := []string{r.server.said.at.String()}
	if r.server.Keys != "" {
		places = append(places, r.server.Keys)
	}
	for _, address := range places {
		a := r.get(address, "Origin", foreignOrigin)
		if allowed := a.header.Get("Access-Control-Allow-Origin"); a.err == nil && allowed != "*" &&
			allowed != foreignOrigin {
			all = append(all, found("%s, without Access-Control-Allow-Origin: *", a).
				warns("A browser page that plays a device cannot read it. `device_login` sends the header; look for a "+
					"proxy or a `header -Access-Control-Allow-Origin` that takes it away."))
		}
	}
	return worst(append(all, well("pages of every origin may read them"))...)
}
