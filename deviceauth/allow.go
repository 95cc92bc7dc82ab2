package deviceauth

import (
	"fmt"
	"slices"
	"strings"
)

// An Allow rule lets in the people of whom one value of one claim matches one
// of its patterns, in which * stands for any text. Case does not matter in an
// e-mail address, elsewhere it does.
type Allow struct {
	Claim    string   `json:"claim"`
	Patterns []string `json:"patterns"`
}

// permits is what one rule says of a person.
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

// matches compares text with a pattern of which only * is special.
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

// permit reports whether some rule lets a person in. No rules let everybody in.
func permit(rules []Allow, p *Person) bool {
	return len(rules) == 0 || slices.ContainsFunc(rules, func(a Allow) bool { return a.permits(p) })
}

// Permits reports whether a person may approve anything: their upstream is
// configured, its rules permit them, and backends can be told who they are
// without taking them for another person.
func (e *Engine) Permits(p *Person) bool {
	rules, known := e.cfg.Allow[p.Upstream]
	return known && p.Clean() && !e.mimics(p) && permit(rules, p)
}

// permitted reports whether a person may approve a client, or have approved it.
func (e *Engine) permitted(c *Client) func(*Person) bool {
	return func(p *Person) bool {
		return c != nil && e.Permits(p) && permit(c.Allow, p)
	}
}

// rule says which rule keeps a person out, for the operator: of their upstream, or of
// a client. g is the grant that ended by it, or nil.
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
		return "the user reads as the subject of somebody at another upstream"
	case !permit(rules, p):
		return "upstream " + p.Upstream + ": " + inWords(rules)
	case c != nil && !permit(c.Allow, p):
		return "client " + c.ID + ": " + inWords(c.Allow)
	case g != nil && g.State == Revoked || g != nil && g.State == Denied:
		return "the configuration no longer has what was granted"
	}
	return ""
}

// inWords spells rules as a Caddyfile has them.
func inWords(rules []Allow) string {
	var lines []string
	for _, a := range rules {
		lines = append(lines, "allow "+a.Claim+" "+strings.Join(a.Patterns, " "))
	}
	return strings.Join(lines, ", ")
}

// errWithheld is errBarred where the rule could not be decided.
var errWithheld = fmt.Errorf("%w (%w)",
	NewError("groups_withheld", "the upstream left out the groups that decide on this account"), errBarred)

// bar is the refusal of a person whom the rules of their upstream, or of a
// client if there is one, do not let in. Some providers leave the groups of
// whoever is in many out of the token: the person has to hear that, because
// another account would be no help.
func (e *Engine) bar(p *Person, c *Client) error {
	rules := e.cfg.Allow[p.Upstream]
	if c != nil && permit(rules, p) {
		rules = c.Allow
	}
	rests := slices.ContainsFunc(rules, func(a Allow) bool { return slices.Contains(p.Withheld, a.Claim) })
	if rests && !permit(rules, p) {
		return errWithheld
	}
	return errBarred
}
