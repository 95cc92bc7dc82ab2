package devicecheck

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// The checks in this file look at the server's metadata (RFC 8414, OpenID Connect
// Discovery).

// metadataOAuth looks for metadata at both well-known addresses; one of them is
// enough for most clients. A document counts only if it names an endpoint or an
// issuer, because some servers answer every path with an empty JSON object. The other
// checks use the first document found.
func (r *run) metadataOAuth() finding {
	u, _ := url.Parse(r.issuer) // cannot fail: serverReach has parsed it
	oauth := r.ask(wellKnown(u, oauthName, true))
	openID := r.ask(strings.TrimSuffix(r.issuer, "/") + openIDName)
	for _, a := range []*answer{oauth, openID} {
		if d := a.document(); d != nil && d.Token+d.DeviceAuthorization+d.Issuer != "" {
			r.documents = append(r.documents, d)
		}
		r.metadataAnswers = append(r.metadataAnswers, a)
	}
	if len(r.documents) > 0 {
		r.server = r.documents[0]
	}
	switch {
	case r.server == nil:
		return found("%s; %s; neither has metadata in JSON", oauth, openID).
			fail("Where Caddy is the server: put `device_login` into the site named %s, outside of every `handle`, "+
				"and let no other directive take /.well-known/. Otherwise check the URL: it is to be a guarded API's, "+
				"or the server's issuer.", quote(u.Host))
	case r.server.answer != oauth:
		return found("%s", oauth).warn(
			"Clients that know only RFC 8414 do not find the server. Behind a proxy, and with an issuer that has a "+
				"path, pass %s%s on, too: that name comes before the path.", oauthName, quote(u.Path))
	}
	return pass("%s", oauth)
}

// metadataOpenID looks for the document of OpenID Connect Discovery. Its absence is a
// warning: RFC 8414 alone is enough for OAuth clients, but most OpenID Connect
// libraries look nowhere else.
func (r *run) metadataOpenID() finding {
	if a := r.metadataAnswers[1]; r.documents[len(r.documents)-1].answer != a {
		return found("%s", a).
			warn("Clients that know only OpenID Connect Discovery do not find the server: pass this path on to it.")
	}
	return pass("%s", r.metadataAnswers[1])
}

// metadataType requires the media type application/json. Browsers and strict
// libraries do not decode a response that is labelled as text.
func (r *run) metadataType() finding {
	var all []finding
	for _, d := range r.documents {
		if d.answer.kind() != "application/json" {
			all = append(all, found("%s; RFC 8414 §3.2 wants application/json", d.answer).
				fail("Look for a `header Content-Type` in the Caddyfile, or a proxy that sets it."))
		}
	}
	return worst(append(all, pass("they are JSON"))...)
}

// metadataIssuer compares the issuer in the metadata with the one that was asked. RFC
// 8414 §3.3 and RFC 9207 compare issuers as strings, without normalization: a client
// must stop at any difference, or a server could pretend to be another one. A slash
// at the end is by far the most frequent difference, and has its own text.
func (r *run) metadataIssuer() finding {
	for _, d := range r.documents {
		switch {
		case d.Issuer == r.issuer:
		case strings.TrimSuffix(d.Issuer, "/") == strings.TrimSuffix(r.issuer, "/"):
			return found("%s says that the issuer is %s, and it was found as %s: the slash counts (RFC 8414 §3.3)",
				d.answer.asked, quote(d.Issuer), quote(r.issuer)).
				fail("Write the issuer the same way everywhere: in the `issuer` line of `device_login`, in that of " +
					"guards in other Caddys, and in your clients.")
		default:
			return found("%s says that the issuer is %s, and it was asked as %s; clients must stop there (RFC "+
				"8414 §3.3)", d.answer.asked, quote(d.Issuer), quote(r.issuer)).
				fail("If people and devices come by %s, let the global `device_login` block say `issuer %s`; else "+
					"give %s to clients, and to this command.", quote(r.issuer), quote(r.issuer), quote(d.Issuer))
		}
	}
	return pass("the issuer is %s", quote(r.issuer))
}

// metadataEndpoints judges the addresses of all endpoints before any request is sent
// to them, see endpoint. The device authorization endpoint and the token endpoint are
// required, all others may be missing.
func (r *run) metadataEndpoints() finding {
	issuer, _ := url.Parse(r.issuer)
	var all []finding
	for i, e := range r.server.endpoints() {
		switch {
		case e[1] == "" && i < 2:
			all = append(all, found("the metadata have no %s", e[0]).
				fail("Without it there is no device flow (RFC 8628 §4). Look whether this is the server you mean, "+
					"and whether the product has the flow switched off."))
		case e[1] != "":
			all = append(all, r.endpoint(e[0], e[1]))
		}
	}
	return worst(append(all, pass("the endpoints are %s's own", quote(issuer.Host)))...)
}

// endpoint judges the address of an endpoint. The address comes from the server and
// may be anything. An address that is not https, or that leads from the network to
// this machine, is a failure and is never asked. Another origin than the issuer's is
// unusual, but RFC 8414 permits it. For a confidential client it is a failure,
// because its secret is sent to the issuer's origin only.
func (r *run) endpoint(name, address string) finding {
	switch {
	case !r.mayLead(address):
		return found("the %s is %s, which is not https, or is on this machine and the issuer is not; nothing is "+
			"sent there", name, quote(address)).
			fail("Let the `issuer` say https; endpoints follow it. Behind a proxy that ends TLS, the issuer is the " +
				"address at the proxy.")
	case r.atIssuer(address):
		return pass("")
	case r.cfg.ClientSecret != "" && slices.Contains(secretEndpoints, name):
		return found("the %s is %s, on another origin than the issuer; the client's secret is not sent there", name,
			quote(address)).
			fail("If it is ours, a proxy rewrites its answers: take that out. Other products may do that: " +
				"check them with a client that has no secret.")
	}
	return found("the %s is %s, on another origin than the issuer", name, quote(address)).
		warn("A server may do that; ours does not. If it is ours, a proxy rewrites its answers: take that out.")
}

// secretEndpoints are the endpoints at which a client authenticates.
var secretEndpoints = []string{"device_authorization_endpoint", "token_endpoint", "revocation_endpoint"}

// metadataGrants requires the device grant in grant_types_supported. The default of
// this member lacks the device grant (RFC 8414 §2), so a client may conclude from its
// absence that the server does not support it.
func (r *run) metadataGrants() finding {
	if !slices.Contains(r.server.Grants, grantDeviceCode) {
		return found("grant_types_supported is %s, without %s", quote(fmt.Sprint(r.server.Grants)), grantDeviceCode).
			fail("RFC 8628 §4 wants it there. With Caddy it always is: look whether this is the server you mean. " +
				"With other products switch the device grant on.")
	}
	return pass("the device grant is offered")
}

// metadataCORS requires that pages of any origin can read metadata and keys. Both are
// public, so "*" or an echo of any origin is right here, unlike at the endpoints that
// corsForeign looks at.
func (r *run) metadataCORS() finding {
	var all []finding
	addresses := []string{r.server.answer.at.String()}
	if r.server.Keys != "" {
		addresses = append(addresses, r.server.Keys)
	}
	for _, address := range addresses {
		a := r.get(address, "Origin", foreignOrigin)
		if allowed := a.header.Get("Access-Control-Allow-Origin"); a.err == nil && allowed != "*" &&
			allowed != foreignOrigin {
			all = append(all, found("%s, without Access-Control-Allow-Origin: *", a).
				warn("A browser page that plays a device cannot read it. `device_login` sends the header; look for a "+
					"proxy or a `header -Access-Control-Allow-Origin` that takes it away."))
		}
	}
	return worst(append(all, pass("pages of every origin may read them"))...)
}
