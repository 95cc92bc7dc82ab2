package deviceauth

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
)

// A Compactor copies grants that stay in memory for long. A decoded grant has a
// separate object for each of its strings, all of which Go's garbage collector must
// examine. In a copy all strings of a grant share one object, and strings that many
// grants have in common exist only once: the names of clients, scopes, audiences and
// claims.
type Compactor struct {
	mu        sync.Mutex
	common    map[string]string
	audiences [][]string
}

// maxCommon and maxAudiences bound the number of shared values. Beyond them the
// Compactor starts with an empty table.
const (
	maxCommon    = 1024 // texts
	maxAudiences = 32
)

// Compact returns a copy of a grant that shares only immutable values with it. The
// copy must not be modified either.
func (c *Compactor) Compact(g *Grant) *Grant {
	own := *g
	var pool textPool
	own.ClientID, own.Scope = c.shared(own.ClientID), Scope(c.shared(string(own.Scope)))
	own.Audience = c.audience(own.Audience)
	pool.add((*string)(&own.UserCode), &own.Nonce, &own.Redirect, &own.Place, &own.Label, &own.Name, &own.Reason)
	if g.Refresh != nil {
		refresh := *g.Refresh
		own.Refresh = &refresh
	}
	if g.Person == nil {
		pool.join()
		return &own
	}
	person := *g.Person
	own.Person = &person
	person.Upstream = c.shared(person.Upstream)
	pool.add(&person.Subject, &person.User, &person.Session, (*string)(&person.Fresh))
	person.Withheld = slices.Clone(person.Withheld)
	for i := range person.Withheld {
		pool.add(&person.Withheld[i])
	}
	claims := pool.addClaims(person.Claims)
	pool.join()
	if person.Claims != nil {
		person.Claims = make(Claims, len(claims))
		for _, claim := range claims {
			person.Claims[c.shared(claim.name)] = claim.joined()
		}
	}
	return &own
}

// shared returns the shared copy of a string.
func (c *Compactor) shared(text string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if one, known := c.common[text]; known {
		return one
	}
	text = strings.Clone(text)
	if c.common == nil || len(c.common) >= maxCommon { // the old table's strings stay in use by their grants
		c.common = map[string]string{}
	}
	c.common[text] = text
	return text
}

// audience returns the shared copy of a list.
func (c *Compactor) audience(list []string) []string {
	if len(list) == 0 {
		return list
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, one := range c.audiences {
		if slices.Equal(one, list) {
			return one
		}
	}
	if len(c.audiences) >= maxAudiences { // the old lists stay in use by their grants
		c.audiences = nil
	}
	list = slices.Clip(slices.Clone(list)) // an append must not write to the array that other grants share
	c.audiences = append(c.audiences, list)
	return list
}

// A textPool moves strings into one object, one after the other.
type textPool struct{ texts []*string }

// add adds strings, which join replaces.
func (p *textPool) add(texts ...*string) { p.texts = append(p.texts, texts...) }

// join moves all strings that were added into one object.
func (p *textPool) join() {
	size := 0
	for _, text := range p.texts {
		size += len(*text)
	}
	var whole strings.Builder
	whole.Grow(size)
	for _, text := range p.texts {
		whole.WriteString(*text)
	}
	rest := whole.String()
	for _, text := range p.texts {
		n := len(*text)
		*text, rest = rest[:n], rest[n:]
	}
}

// A compactClaim is a claim whose strings may be in a textPool.
type compactClaim struct {
	name  string
	value any // the original value
	text  string
	list  []string // the texts of a list
}

// addClaims adds the strings of claims that are strings, numbers, or lists of
// strings. It keeps claims of other types as they are.
func (p *textPool) addClaims(all Claims) []*compactClaim {
	list := make([]*compactClaim, 0, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		claim := &compactClaim{name: name, value: all[name]}
		switch value := claim.value.(type) {
		case string:
			claim.text = value
		case json.Number:
			claim.text = string(value)
		case []any:
			claim.list = textsOf(value)
		}
		p.add(&claim.text)
		for i := range claim.list {
			p.add(&claim.list[i])
		}
		list = append(list, claim)
	}
	return list
}

// textsOf returns a list as strings, or nil if a member is not a string.
func textsOf(list []any) []string {
	all := make([]string, 0, len(list))
	for _, item := range list {
		text, ok := item.(string)
		if !ok {
			return nil
		}
		all = append(all, text)
	}
	return all
}

// joined returns the claim's value after join, with its original type.
func (c *compactClaim) joined() any {
	switch value := c.value.(type) {
	case string:
		return c.text
	case json.Number:
		return json.Number(c.text)
	case []any:
		if c.list == nil {
			return value
		}
		list := make([]any, len(c.list))
		for i, text := range c.list {
			list[i] = text
		}
		return list
	}
	return c.value
}
