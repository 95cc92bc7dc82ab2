package devicecheck

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// The checks in this file look at the device authorization response (RFC 8628 §3.2)
// and at the answer to a poll (§3.5).

// A code is the device authorization response (RFC 8628 §3.2). Numbers are decoded as
// float64, because some servers write 600.0. No member is required here, so that
// deviceMembers can say which ones are missing.
type code struct {
	Device   string  `json:"device_code"`
	User     string  `json:"user_code"`
	Page     string  `json:"verification_uri"`
	Complete string  `json:"verification_uri_complete"`
	Expires  float64 `json:"expires_in"` // in seconds
	Interval float64 `json:"interval"`

	answer *answer
}

// deviceCode requests a device code. No person types its user code, and it expires by
// itself. It names the configured client, because the answer to a made-up client would
// say nothing about the operator's devices, and asks for the same scope and resource
// as the device's own library would.
func (r *run) deviceCode() finding {
	var more []string
	audience, resource, scopes := r.asksFor()
	for name, value := range map[string]string{"scope": strings.Join(scopes, " "), "audience": audience,
		"resource": resource} {
		if value != "" {
			more = append(more, name, value)
		}
	}
	a := r.asClient(r.server.DeviceAuthorization, more...)
	switch {
	case a.err != nil:
		return about(a.asked, explain(a.err))
	case !a.ok():
		return found("%s, to the client %s", a, r.cfg.ClientID).fail("%s", r.whyNoCode(a))
	case json.Unmarshal(a.body, &r.code) != nil || r.code.Device == "":
		return found("%s, without the members of RFC 8628 §3.2", a).
			fail("Find out what else answers this path: devices cannot read it.")
	}
	r.code.answer = a
	return pass("the client %s was given a code", r.cfg.ClientID)
}

// whyNoCode returns the remedy for each way in which the request can be refused. The
// cases are the error codes of RFC 6749 §5.2, invalid_target of RFC 8707 §2 and the
// status codes of a proxy, each with the Caddyfile line that is usually wrong.
func (r *run) whyNoCode(a *answer) string {
	id := r.cfg.ClientID
	switch code := a.refusal().Error; {
	case code == "invalid_client" && r.cfg.ClientSecret == "":
		return fmt.Sprintf("Add a block `client %s` to the global `device_login` block, with a line `scopes openid "+
			"profile email offline_access`; or name one that is there with --client. Has it a secret? Then give "+
			"--client-secret-file.", id)
	case code == "invalid_client":
		return fmt.Sprintf("The secret is not that of the `client %s` block, or there is no such block, or it has no "+
			"`secret`: leave --client-secret-file away then.", id)
	case code == "unauthorized_client":
		return fmt.Sprintf("`client %s` is no device (`guard`); name another with --client.", id)
	case code == "invalid_scope":
		return fmt.Sprintf("Add what is missing to `scopes` in the block `client %s`, or ask for less with --scope. "+
			"The API needs: %s.", id, cmp.Or(quote(strings.Join(r.needs, " ")), "none that it names"))
	case code == "invalid_target":
		return "Add what the API calls itself to the `audience` line of `device_login`, or give one that is there " +
			"with --audience."
	case code == "access_denied":
		return fmt.Sprintf("`from` in the block `client %s` does not name this machine's network. Behind a proxy, "+
			"`trusted_proxies` in the Caddyfile tells who asks.", id)
	case code == "slow_down" || a.status == http.StatusTooManyRequests:
		return "Too many codes wait: wait, or raise `pending`. Behind a proxy without `trusted_proxies` all devices " +
			"have one address."
	case code == "temporarily_unavailable" || a.status >= 500:
		return "Connecting devices may be paused (`caddy device-auth paused`, `caddy device-auth resume`), or the " +
			"store is away: Caddy's log says so."
	case a.redirects():
		return "Devices do not follow redirects when they post: let the `issuer` be the address that this leads to."
	}
	return "Find out what else answers this path."
}

// These are the lifetimes of a code that raise no warning: a person needs a minute at
// least, and a code that is valid for hours gives an attacker much time to guess it
// (RFC 8628 §5.1).
const (
	shortestLife, longestLife = 60, 3600
	longestInterval           = 60
)

// deviceMembers judges the members of the response. A missing member is a failure,
// because devices cannot go on without it. A lifetime or interval outside of the
// usual range works, and is a warning. worst drops the final pass if there is any
// other finding.
func (r *run) deviceMembers() finding {
	c := r.code
	var all []finding
	for _, member := range [][2]string{{"user_code", c.User}, {"verification_uri", c.Page}} {
		if member[1] == "" {
			all = append(all, found("the answer has no %s (RFC 8628 §3.2)", member[0]).
				fail("Look for a proxy that changes the answer; ours has it."))
		}
	}
	switch {
	case c.Expires <= 0:
		all = append(all, found("expires_in is %v (RFC 8628 §3.2 requires it)", c.Expires).
			fail("Set `lifetime device_code 10m`; it is the default."))
	case c.Expires < shortestLife || c.Expires > longestLife:
		all = append(all, found("the code lives for %v s", c.Expires).
			warn("Set `lifetime device_code 10m`: long enough for a person, short enough not to be guessed."))
	}
	if c.Interval < 1 || c.Interval > longestInterval {
		all = append(all, found("the interval is %v s (0: there is none, and devices wait 5 s)", c.Interval).
			warn("Leave `interval` out of `device_login`, or set it to a few seconds."))
	}
	return worst(append(all, pass("a code lives for %v s, the interval is %v s", c.Expires, c.Interval))...)
}

// deviceCache requires that the response must not be cached. A shared cache would
// hand the same device code to a second device, and both would then poll for one
// grant.
func (r *run) deviceCache() finding {
	if r.code.answer.cacheable() {
		return found("%s with Cache-Control %q, and a device code in it", r.code.answer,
			quote(r.code.answer.header.Get("Cache-Control"))).
			fail("The server sends no-store (RFC 6749 §5.1); look for `header Cache-Control` in the Caddyfile, or a " +
				"CDN's rule that changes it. Two devices must not get one code.")
	}
	return pass("it may not be cached")
}

// longestAddress is about the longest address that people type on a phone without a
// mistake.
const longestAddress = 40

// deviceAddress judges verification_uri and verification_uri_complete. People type
// the URI on a phone (RFC 8628 §3.3), so a long one is a defect although every
// browser accepts it. mayLead checks the address before anything else, because the
// server chose it and it may name a service on the operator's own machine.
func (r *run) deviceAddress() finding {
	shown := strings.TrimPrefix(r.code.Page, "https://")
	for _, address := range []string{r.code.Page, cmp.Or(r.code.Complete, r.code.Page)} {
		if !r.mayLead(address) {
			return found("people are to open %s, which is not https, or is on this machine and the issuer is not",
				quote(address)).fail("Let the `issuer` say https; the page is under it.")
		}
	}
	switch {
	case len(shown) > longestAddress:
		return found("people have to type %s, %d characters", quote(r.code.Page), len(shown)).
			warn("Give the issuer a shorter host, or the page a shorter path, by `device /d` in a `paths` " +
				"block (RFC 8628 §3.3 wants it short).")
	case r.code.Complete != "" && !strings.Contains(r.code.Complete, url.QueryEscape(r.code.User)) &&
		!strings.Contains(r.code.Complete, r.code.User):
		return found("verification_uri_complete is %s, without the code", quote(r.code.Complete)).
			warn("A QR code of it brings no code along. Ours does; find out what changes the answer.")
	}
	return pass("people open %s", quote(r.code.Page))
}

// devicePoll judges the answer to one poll. RFC 8628 permits a server to hold the
// poll until the person has answered, but many HTTP libraries do not wait for that:
// 5 s is the shortest default among those in use on devices. The order of the cases
// matters, since a poll that timed out has no OAuth error.
func (r *run) devicePoll() finding {
	a := r.poll()
	took := a.took.Round(10 * time.Millisecond)
	detail := found("%s, to the first poll; want authorization_pending (RFC 8628 §3.5)", a)
	switch {
	case a.err != nil && isTimeout(a.err):
		return found("%s: the poll was not answered within %v", a.asked, requestTimeout).
			fail("A poll is held for `wait` (2.5 s) at most. Look for a proxy that holds answers back, or set `wait " +
				"off`; many devices give up after 5 s.")
	case a.err != nil:
		return about(a.asked, explain(a.err))
	case a.refusal().Error == "slow_down":
		return detail.warn("The first poll is too early for this server. Ours never says so; if it is ours, " +
			"something else polls with this code.")
	case a.refusal().Error != "authorization_pending":
		return detail.fail("Devices end the login here. With several gateways: all of them need the same `store " +
			"redis`, or a code of one is unknown to the other.")
	case a.took > 5*time.Second:
		return found("a poll was held for %v; many devices give up after 5 s", took).
			warn("Set `wait 2.5s`, or look for a proxy that holds answers back (`proxy_buffering off` in nginx).")
	case a.took > time.Second:
		return pass("pending, held for %v: a device hears at once when a person has answered", took)
	}
	return pass("pending, answered after %v", took)
}

// poll polls the token endpoint once. More is not needed, so interval is never
// undercut.
func (r *run) poll() *answer {
	return r.asClient(r.server.Token, "grant_type", grantDeviceCode, "device_code", r.code.Device)
}
