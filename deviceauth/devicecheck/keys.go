package devicecheck

import (
	"encoding/json"
	"slices"
	"strings"
)

// The checks in this file look at the keys that verify tokens (RFC 7517).

// A jwk is a key with all its members: a library would drop the members that must not
// be there.
type jwk map[string]any

// text returns a member that is a string; a member of another type counts as missing.
func (k jwk) text(name string) string {
	text, _ := k[name].(string)
	return text
}

// secretMembers are the members of private and symmetric keys (RFC 7518 §6.2.2,
// §6.3.2, §6.4.1).
var secretMembers = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

// keysSet requires a key set with keys for signatures. Without them it is a failure
// even if the API works today, because guards in other processes get the keys only
// from here.
func (r *run) keysSet() finding {
	if r.server.Keys == "" {
		return found("the metadata have no jwks_uri").
			warn("Nobody else can check this server's tokens. Ours has one; with other products that is " +
				"fine as long as tokens are opaque.")
	}
	a := r.get(r.server.Keys)
	var set struct {
		Keys []jwk `json:"keys"`
	}
	if !a.ok() || json.Unmarshal(a.body, &set) != nil {
		return found("%s, and no JWK Set", a).
			fail("Guards elsewhere and clients check tokens with it. Let nothing in the Caddyfile, and no proxy, " +
				"take the path to somewhere else.")
	}
	signing := 0
	for _, k := range set.Keys {
		if public(k) && (k.text("use") == "" || k.text("use") == "sig") {
			signing++
		}
	}
	if r.keys = set.Keys; signing == 0 {
		return found("%s, without a public key for signatures", a).
			fail("Look at Caddy's log for the signing keys; `caddy device-auth keys list` shows them.")
	}
	return pass("%s, keys: %d", a, len(set.Keys))
}

// public reports whether the type of a key is an asymmetric one that is known. An
// unknown type may be a new kind of public key, and is not counted.
func public(k jwk) bool {
	return slices.Contains([]string{"EC", "RSA", "OKP"}, k.text("kty"))
}

// keysNamed requires kid and alg in every key. Without kid a verifier has to try all
// keys, and without alg it has to trust the algorithm in the token's own header,
// which RFC 8725 §3.1 warns of.
func (r *run) keysNamed() finding {
	if len(r.keys) == 0 {
		return skip("there are none, see keys.set")
	}
	for _, k := range r.keys {
		if k.text("kid") == "" || k.text("alg") == "" {
			return found("a key (kid %q, kty %q) lacks its kid or alg", quote(k.text("kid")), quote(k.text("kty"))).
				warn("Clients have to guess then which key a token is signed with, and how (RFC 8725 §3.1). Keys of " +
					"`caddy device-auth keys list` have both; find out what else answers.")
		}
	}
	return pass("each key has its kid and alg")
}

// keysSecret fails if a key has secret members: with such a key anyone can sign
// tokens. The finding names key and member, never the value.
func (r *run) keysSecret() finding {
	if len(r.keys) == 0 {
		return skip("there are none, see keys.set")
	}
	var named []string
	for _, k := range r.keys {
		for _, member := range secretMembers {
			if _, there := k[member]; there {
				named = append(named, quote(k.text("kid"))+" has "+member)
			}
		}
		if k.text("kty") == "oct" {
			named = append(named, quote(k.text("kid"))+" is symmetric")
		}
	}
	if len(named) > 0 {
		return found("PRIVATE KEYS ARE PUBLISHED at %s: %s", quote(r.server.Keys), quote(strings.Join(named, ", "))).
			fail("Anybody can make tokens that are let in. Take the server off the network now, begin new keys " +
				"(`caddy device-auth keys rotate`, and drop the old ones), end all grants, and report it " +
				"if it is ours.")
	}
	return pass("no private part is published")
}
