package deviceauth

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"
)

// Claims are the claims that an upstream made about a person, by name, as decoded
// from JSON. They are immutable.
type Claims map[string]any

// UnmarshalJSON keeps the exact text of numbers: employee numbers that differ only in
// the seventeenth digit are different.
func (c *Claims) UnmarshalJSON(document []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.UseNumber()
	var all map[string]any
	if err := decoder.Decode(&all); err != nil {
		return err
	}
	*c = all
	return nil
}

// String returns a claim as text: a number or a boolean as in JSON, and "" if the
// claim is missing, a list or an object.
func (c Claims) String(name string) string {
	s, _ := scalar(c[name])
	return s
}

// Strings returns a claim as a list of texts in the form of [Claims.String]. It omits
// lists and objects within the list.
func (c Claims) Strings(name string) []string {
	switch v := c[name].(type) {
	case []string:
		return v
	case []any:
		list := make([]string, 0, len(v))
		for _, item := range v {
			if s, ok := scalar(item); ok {
				list = append(list, s)
			}
		}
		return list
	}
	if s, ok := scalar(c[name]); ok {
		return []string{s}
	}
	return nil
}

func scalar(value any) (text string, ok bool) {
	switch v := value.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	case float64: // set by a Go program
		return strconv.FormatFloat(v, 'f', -1, 64), true
	}
	return "", false
}

// Bool reports whether the claim is true, as a boolean or, as some providers
// send it, as the string "true".
func (c Claims) Bool(name string) bool {
	return c[name] == true || c[name] == "true"
}

// A Person is the person who signed in, with the claims of the upstream and nothing
// else.
type Person struct {
	// "<upstream id>|<upstream sub>": unique, and stable when an upstream is added
	Subject  string `json:"sub"`
	Upstream string `json:"upstream"` // the upstream's id
	// the user name for backends, in Remote-User; see [Config]
	User   string `json:"user"`
	Claims Claims `json:"claims,omitempty"` // the upstream's claims about the person
	// when the person last authenticated at the upstream; zero if the upstream did
	// not say
	AuthTime time.Time `json:"auth_time,omitzero"`
	// the upstream's session, if it has an id (OpenID Connect Back-Channel Logout
	// §2.1)
	Session  string    `json:"sid,omitempty"`
	SignedIn time.Time `json:"signed_in,omitzero"` // when this sign-in was started, by our own clock
	// claims that the upstream left out of the token, or that are too large to store
	Withheld []string `json:"withheld,omitempty"`
	// the code that was being approved when the person signed in anew for it
	Fresh UserCode `json:"fresh,omitempty"`
}

// SessionKey returns the name of an upstream's session as an owner of grants. It is
// never equal to a subject.
func SessionKey(upstream, session string) string { return "sid:" + upstream + "|" + session }

// Owners returns the names by which a store finds the grants of a person: the
// subject, and the session at the upstream.
func (p *Person) Owners() []string {
	if p.Session == "" {
		return []string{p.Subject}
	}
	return []string{p.Subject, SessionKey(p.Upstream, p.Session)}
}

// Name returns how a page addresses the person: the name, else the e-mail address,
// else the user.
func (p *Person) Name() string {
	for _, s := range []string{p.Claims.String("name"), p.Claims.String("email")} {
		if s != "" {
			return s
		}
	}
	return p.User
}
