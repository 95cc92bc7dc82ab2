package upstreamidp

import (
	"encoding/json"
	"slices"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// An upstream may send any number of claims. Those that are needed are stored with
// each session and each device: claims for a rule, a header, a device's scopes or a
// page.

// protocolClaims are about a token and not about a person. The last two refer to
// claims elsewhere, sometimes with a token to fetch them (OpenID Connect Core
// §5.6.2), which must not be passed on.
var protocolClaims = []string{
	"iss", "aud", "exp", "iat", "nbf", "nonce", "at_hash", "c_hash", "s_hash", "azp", "jti", "sid", "auth_time",
	claimNames, "_claim_sources",
}

const claimNames = "_claim_names"

// keptByDefault are the claims that are stored in any case: those of the scopes profile
// and email (OpenID Connect Core §5.1), groups, and those of RFC 9068 §2.2.3.1; acr and
// amr say how the person signed in (OpenID Connect Core §2). If not all fit, the last
// ones are omitted first.
var keptByDefault = []string{
	"sub", "email", "email_verified", "name", "preferred_username", "groups", "roles", "entitlements", "acr", "amr",
	"given_name", "family_name", "middle_name", "nickname", "picture", "profile", "website", "locale", "zoneinfo",
	"gender", "birthdate", "updated_at",
}

// Limits for a stored claim, and for all claims of a person together.
const (
	maxText   = 2 << 10  // bytes of a string
	maxList   = 16 << 10 // bytes of anything else, as JSON
	maxClaims = 64 << 10 // bytes as JSON
)

// keptClaims returns the claims that are stored, those that decide something first.
func (p *Provider) keptClaims() []string {
	return slices.Concat([]string{"sub", p.cfg.UserClaim}, p.cfg.RuleClaims, p.cfg.BackendClaims, keptByDefault)
}

// resolveNested adds claims that are configured by their path within another claim,
// such as realm_access.roles or resource_access.<client>.roles of Keycloak. A claim
// with exactly that name takes precedence, since names that are URLs have dots, too.
func (p *Provider) resolveNested(all deviceauth.Claims) {
	for _, name := range p.keptClaims() {
		if value := nested(all, name); value != nil {
			all[name] = value
		}
	}
}

// nested returns the value at the end of a path through objects, or nil. Names in the
// path may have dots themselves; shorter names are tried first.
func nested(object map[string]any, way string) any {
	if value := object[way]; value != nil {
		return value
	}
	for i := range way {
		if way[i] != '.' {
			continue
		}
		if inner, ok := object[way[:i]].(map[string]any); ok {
			if value := nested(inner, way[i+1:]); value != nil {
				return value
			}
		}
	}
	return nil
}

// limitClaims returns the claims to store, and the names of those that are too large.
func (p *Provider) limitClaims(all deviceauth.Claims) (kept deviceauth.Claims, large []string) {
	kept = deviceauth.Claims{}
	size := 0
	for _, name := range p.keptClaims() {
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

// sizeOf returns the size of a value: the length of a string, or else of its JSON.
func sizeOf(value any) int {
	if text, ok := value.(string); ok {
		return len(text)
	}
	document, err := json.Marshal(value)
	if err != nil {
		return maxClaims + 1 // cannot happen with values decoded from JSON
	}
	return len(document)
}

// omittedClaims returns the claims that the provider has but did not send. Entra ID
// omits groups if there are more than 200: the token refers to another URL in
// _claim_names, or has hasgroups.
func (p *Provider) omittedClaims(all deviceauth.Claims) (names []string) {
	references, _ := all[claimNames].(map[string]any)
	for _, name := range p.keptClaims() {
		_, refers := references[name]
		refers = refers || name == "groups" && all.Bool("hasgroups")
		if refers && all[name] == nil && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}
