package deviceauth

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
)

// A Compactor makes copies of grants that stay in memory for long. A grant from a decoder has
// each of its texts in an object of its own, and Go's garbage collector looks at every object
// again and again. In a copy all texts of the grant share one object, and what many grants have
// in common is there once: the names of clients, scopes, audiences and claims.
type Compactor struct {
	mu        sync.Mutex
	common    map[string]string
	audiences [][]string
}

// maxCommon and maxAudiences bound what is kept as common. Beyond them it is begun anew.
const (
	maxCommon    = 1024 // texts
	maxAudiences = 32
)

// Compact returns a copy of a grant that shares nothing with it but values that are never
// changed. The copy must not be changed either.
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

// shared returns the one copy of a text that many grants have.
func (c *Compactor) shared(text string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if one, known := c.common[text]; known {
		return one
	}
	text = strings.Clone(text)
	if c.common == nil || len(c.common) >= maxCommon { // what was there stays with its grants
		c.common = map[string]string{}
	}
	c.common[text] = text
	return text
}

// audience returns the one copy of a list that many grants have.
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
	if len(c.audiences) >= maxAudiences { // what was there stays with its grants
		c.audiences = nil
	}
	list = slices.Clip(slices.Clone(list)) // an append must not write to what other grants share
	c.audiences = append(c.audiences, list)
	return list
}

// A textPool puts texts one behind another into one object.
type textPool struct{ texts []*string }

// add takes texts that join replaces.
func (p *textPool) add(texts ...*string) { p.texts = append(p.texts, texts...) }

// join has all texts that were added lie in one object.
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

// A compactClaim is a claim whose text may be in a textPool.
type compactClaim struct {
	name  string
	value any // as it was, where it has no text
	text  string
	list  []string // the texts of a list
}

// addClaims adds the texts of claims: of texts, numbers, and lists of texts. Claims of other
// kinds stay as they are.
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

// textsOf returns a list whose members are texts; nil: some are not.
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

// joined is the claim's value of the same type as before, after join.
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
