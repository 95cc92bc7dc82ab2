package deviceauth

import (
	"fmt"
	"slices"
	"strings"
)

// An Allow rule permits a person if one value of a claim matches one of its patterns,
// in which * stands for any text. The comparison is case-insensitive for e-mail
// addresses, and case-sensitive for other claims.
type Allow struct {
	Claim    string   `json:"claim"`
	Patterns []string `json:"patterns"`
}

// permits reports whether the rule permits a person.
func (a Allow) permits(p *Person) bool {
	if a.Claim == "email" && !p.Claims.Bool("email_verified") {
		return false // an address that is not verified can be claimed by anyone
	}
	return slices.ContainsFunc(p.Claims.Strings(a.Claim), func(value string) bool {
		return slices.ContainsFunc(a.Patterns, func(pattern string) bool {
			if a.Claim == "email" {
				return matches(strings.ToLower(pattern), strings.ToLower(value))
			}
			return matches(pattern, value)
		})
	})
}

// matches reports whether a text matches a pattern in which only * is special.
func matches(pattern, text string) bool {
	head, rest, starred := strings.Cut(pattern, "*")
	if !starred {
		return pattern == text
	}
	if !strings.HasPrefix(text, head) {
		return false
	}
	text = text[len(head):]
	for {
		var part string
		part, rest, starred = strings.Cut(rest, "*")
		if !starred {
			return strings.HasSuffix(text, part)
		}
		_, after, found := strings.Cut(text, part)
		if !found {
			return false
		}
		text = after
	}
}

// permit reports whether one of the rules permits a person. An empty list permits
// everyone.
func permit(rules []Allow, p *Person) bool {
	return len(rules) == 0 || slices.ContainsFunc(rules, func(a Allow) bool { return a.permits(p) })
}

// Permits reports whether a person may approve grants: their upstream is configured,
// its rules permit them, and their user name is safe to pass to backends, which
// cannot take it for another person's.
func (e *Engine) Permits(p *Person) bool {
	rules, known := e.cfg.Allow[p.Upstream]
	return known && p.Clean() && !e.mimics(p) && permit(rules, p)
}

// permitted returns a function that reports whether a person may approve a client, or
// may keep an approval of it.
func (e *Engine) permitted(c *Client) func(*Person) bool {
	return func(p *Person) bool {
		return c != nil && e.Permits(p) && permit(c.Allow, p)
	}
}

// rule describes, for the operator, the rule of an upstream or a client that excludes
// a person. g is the grant that ended because of it, or nil.
func (e *Engine) rule(g *Grant, p *Person, c *Client) string {
	rules, known := e.cfg.Allow[p.Upstream]
	switch {
	case g != nil && g.Reason == ReasonDisabled:
		return "upstream " + p.Upstream + " no longer vouches for the person"
	case !known:
		return "upstream " + p.Upstream + " is not configured"
	case !p.Clean():
		return "the user has characters that a backend may take for others"
	case e.mimics(p):
		return "the user reads as the subject of a person at another upstream"
	case !permit(rules, p):
		return "upstream " + p.Upstream + ": " + describeRules(rules)
	case c != nil && !permit(c.Allow, p):
		return "client " + c.ID + ": " + describeRules(c.Allow)
	case g != nil && g.State == Revoked || g != nil && g.State == Denied:
		return "the configuration no longer has what was granted"
	}
	return ""
}

// describeRules returns rules as they are written in a Caddyfile.
func describeRules(rules []Allow) string {
	var lines []string
	for _, a := range rules {
		lines = append(lines, "allow "+a.Claim+" "+strings.Join(a.Patterns, " "))
	}
	return strings.Join(lines, ", ")
}

// errWithheld is errBarred for a person whose upstream left out a claim that a rule
// needs.
var errWithheld = fmt.Errorf("%w (%w)",
	NewError("groups_withheld", "the upstream left out the groups that decide on this account"), errBarred)

// barError returns the error for a person whom the rules of their upstream, or of a client
// if c is not nil, do not permit. Some providers leave the groups out of the token of
// a person with many groups. The error must say that, because another account would
// not help.
func (e *Engine) barError(p *Person, c *Client) error {
	rules := e.cfg.Allow[p.Upstream]
	if c != nil && permit(rules, p) {
		rules = c.Allow
	}
	withheld := slices.ContainsFunc(rules, func(a Allow) bool { return slices.Contains(p.Withheld, a.Claim) })
	if withheld && !permit(rules, p) {
		return errWithheld
	}
	return errBarred
}
