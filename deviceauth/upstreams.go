package deviceauth

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// With several upstreams, people must not be confused: a sub identifies a person only
// together with its issuer (OpenID Connect Core §5.7).

// only reports whether an upstream is the only one that is configured. An upstream
// that has been removed from the configuration is not, although tokens of its people
// may still be valid.
func (c *Config) only(upstream string) bool {
	_, known := c.Allow[upstream]
	return known && len(c.Allow) == 1
}

// Advice returns hints for the operator about a valid configuration.
func (c Config) Advice() (list []string) {
	named := slices.DeleteFunc(slices.Sorted(maps.Keys(c.Allow)), func(id string) bool { return c.UserClaim[id] == "" })
	if len(named) > 1 {
		list = append(list, fmt.Sprintf("the user lines of the upstreams %s can name the same person, "+
			"and backends that look at Remote-User alone would take two people for one: leave them out, and it is the "+
			"subject, which no two share; or have backends read Remote-Upstream beside it", strings.Join(named, ", ")))
	}
	return list
}

// named returns the person with the user name for backends. It is computed each time,
// because a store and a session may contain people from before an upstream was added
// or removed.
func (e *Engine) named(p *Person) *Person {
	if p == nil || e.cfg.UserClaim[p.Upstream] != "" {
		return p
	}
	user := p.User
	switch {
	case !e.cfg.only(p.Upstream):
		user = p.Subject
	case user == p.Subject:
		user = strings.TrimPrefix(p.Subject, p.Upstream+"|")
	}
	if user == p.User {
		return p
	}
	now := *p
	now.User = user
	return &now
}

// forBackends returns a person in the form for backends: with the upstream only if
// there are several.
func (e *Engine) forBackends(p *Person) Person {
	now := *e.named(p)
	if e.cfg.only(now.Upstream) {
		now.Upstream = ""
	}
	return now
}

// mimics reports whether the person's user, a claim that people may be able to
// choose, looks like the subject of a person at another upstream.
func (e *Engine) mimics(p *Person) bool {
	p = e.named(p)
	upstream, _, prefixed := strings.Cut(p.User, "|")
	_, known := e.cfg.Allow[upstream]
	return prefixed && known && !e.cfg.only(p.Upstream) && e.cfg.UserClaim[upstream] == "" && p.User != p.Subject
}
