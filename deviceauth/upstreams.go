package deviceauth

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Several upstreams are not each other's people: a sub names a person at
// one issuer alone (OpenID Connect Core §5.7).

// only reports whether an upstream is the one where people sign in. One that was
// taken out of the configuration is not, for as long as tokens of its people live.
func (c *Config) only(upstream string) bool {
	_, known := c.Allow[upstream]
	return known && len(c.Allow) == 1
}

// Advice says what an operator should know of a configuration that is not wrong.
func (c Config) Advice() (list []string) {
	named := slices.DeleteFunc(slices.Sorted(maps.Keys(c.Allow)), func(id string) bool { return c.UserClaim[id] == "" })
	if len(named) > 1 {
		list = append(list, fmt.Sprintf("the user lines of the upstreams %s can name the same person, "+
			"and backends that look at Remote-User alone would take two people for one: leave them out, and it is the "+
			"subject, which no two share; or have backends read Remote-Upstream beside it", strings.Join(named, ", ")))
	}
	return list
}

// named is a person with the user that backends know them by. It is derived
// anew, because a store and a session remember people from before an upstream
// was added or taken away.
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

// forBackends is a person as backends are told of them: the upstream only where there
// are several.
func (e *Engine) forBackends(p *Person) Person {
	now := *e.named(p)
	if e.cfg.only(now.Upstream) {
		now.Upstream = ""
	}
	return now
}

// mimics reports whether the person's user, a claim that may be of their own
// choosing, reads as the subject of a person at another upstream.
func (e *Engine) mimics(p *Person) bool {
	p = e.named(p)
	upstream, _, prefixed := strings.Cut(p.User, "|")
	_, known := e.cfg.Allow[upstream]
	return prefixed && known && !e.cfg.only(p.Upstream) && e.cfg.UserClaim[upstream] == "" && p.User != p.Subject
}
