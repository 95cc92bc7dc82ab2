package upstreamidp

import (
	"encoding/json"
	"slices"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// An upstream may say as much of a person as it likes. What is kept is what
// some reader needs: a rule, a header, a device by its scopes, a page. It is stored
// with each session and each device.

// protocolClaims say something about a token, not about a person. The last two
// point to claims elsewhere, sometimes with a token to fetch them (OpenID
// Connect Core §5.6.2), which must not be handed on.
var protocolClaims = []string{
	"iss", "aud", "exp", "iat", "nbf", "nonce", "at_hash", "c_hash", "s_hash", "azp", "jti", "sid", "auth_time",
	claimNames, "_claim_sources",
}

const claimNames = "_claim_names"

// standardClaims are those of OpenID Connect Core §5.1 that the scopes profile
// and email open, and those of RFC 9068 §2.2.3.1; acr and amr say how the person
// signed in (OpenID Connect Core §2). The first are the last to be left out.
var standardClaims = []string{
	"sub", "email", "email_verified", "name", "preferred_username", "groups", "roles", "entitlements", "acr", "amr",
	"given_name", "family_name", "middle_name", "nickname", "picture", "profile", "website", "locale", "zoneinfo",
	"gender", "birthdate", "updated_at",
}

// Bounds of a claim that is kept, and of all those of a person together.
const (
	maxText   = 2 << 10  // bytes of a string
	maxList   = 16 << 10 // bytes of anything else, as JSON
	maxClaims = 64 << 10 // bytes as JSON
)

// kept are the claims that have a reader, those that decide something first.
func (p *Provider) kept() []string {
	return slices.Concat([]string{"sub", p.cfg.UserClaim}, p.cfg.RuleClaims, p.cfg.BackendClaims, standardClaims)
}

// reach adds the claims that are asked for by the way to them within another one,
// such as realm_access.roles or resource_access.<client>.roles of Keycloak. A claim
// that is itself called so comes first: names that are addresses have dots, too.
func (p *Provider) reach(all deviceauth.Claims) {
	for _, name := range p.kept() {
		if value := within(all, name); value != nil {
			all[name] = value
		}
	}
}

// within returns what is at the end of a way through objects, or nil. A name on
// the way may have dots of its own; the shorter name comes first.
func within(object map[string]any, way string) any {
	if value := object[way]; value != nil {
		return value
	}
	for i := range way {
		if way[i] != '.' {
			continue
		}
		if inner, ok := object[way[:i]].(map[string]any); ok {
			if value := within(inner, way[i+1:]); value != nil {
				return value
			}
		}
	}
	return nil
}

// bound takes out the claims that have no reader and those that are too large, and
// returns the names of the latter.
func (p *Provider) bound(all deviceauth.Claims) (kept deviceauth.Claims, large []string) {
	kept = deviceauth.Claims{}
	size := 0
	for _, name := range p.kept() {
		value, present := all[name]
		if _, twice := kept[name]; !present || twice || slices.Contains(large, name) ||
			slices.Contains(protocolClaims, name) {
			continue
		}
		n := sizeOf(value)
		_, text := value.(string)
		if text && n > maxText || n > maxList || size+n > maxClaims {
			large = append(large, name)
			continue
		}
		kept[name], size = value, size+n
	}
	return kept, large
}

// sizeOf is how much a value takes: a text its own bytes, all else its JSON's.
func sizeOf(value any) int {
	if text, ok := value.(string); ok {
		return len(text)
	}
	document, err := json.Marshal(value)
	if err != nil {
		return maxClaims + 1 // nothing that JSON said is no JSON
	}
	return len(document)
}

// elsewhere lists the claims that the provider knows and did not send. Entra ID
// leaves groups out where there are more than 200: the token refers to another
// address in _claim_names, or has hasgroups.
func (p *Provider) elsewhere(all deviceauth.Claims) (names []string) {
	references, _ := all[claimNames].(map[string]any)
	for _, name := range p.kept() {
		_, refers := references[name]
		refers = refers || name == "groups" && all.Bool("hasgroups")
		if refers && all[name] == nil && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}
