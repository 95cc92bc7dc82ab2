package deviceauth

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"
)

// Claims are what an upstream said about a person, by claim name, as JSON
// decodes them. They are values: a Claims is not changed after it is made.
type Claims map[string]any

// UnmarshalJSON keeps numbers as they are written: two employees whose numbers
// differ in the seventeenth digit are two.
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

// String returns the claim as text: a number or a boolean as JSON writes it, ""
// when the claim is missing, a list or an object.
func (c Claims) String(name string) string {
	s, _ := scalar(c[name])
	return s
}

// Strings returns a claim as a list of texts, as [Claims.String] writes them. What
// is a list or an object within the list is left out.
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
	case float64: // of a Go program
		return strconv.FormatFloat(v, 'f', -1, 64), true
	}
	return "", false
}

// Bool reports whether the claim is true, as a boolean or, as some providers
// send it, as the string "true".
func (c Claims) Bool(name string) bool {
	return c[name] == true || c[name] == "true"
}

// A Person is who signed in: what an upstream vouched for, and nothing else.
type Person struct {
	// "<upstream id>|<upstream sub>": unique, and stable when an upstream is added
	Subject  string `json:"sub"`
	Upstream string `json:"upstream"` // the upstream's id
	// what a backend knows the person by; becomes Remote-User, see [Config]
	User   string `json:"user"`
	Claims Claims `json:"claims,omitempty"` // the upstream's claims about the person
	// when the person last proved who they are; zero where the upstream did not say
	AuthTime time.Time `json:"auth_time,omitzero"`
	// the upstream's session, where it named one (OpenID Connect Back-Channel Logout §2.1)
	Session  string    `json:"sid,omitempty"`
	SignedIn time.Time `json:"signed_in,omitzero"` // when this sign-in was begun, by our own clock
	// claims that the upstream did not say in the token, or that are too large to keep
	Withheld []string `json:"withheld,omitempty"`
	// the code that was on its way, where the person proved anew who they are
	Fresh UserCode `json:"fresh,omitempty"`
}

// SessionKey names a session at an upstream as an owner of grants. No subject
// begins like it.
func SessionKey(upstream, session string) string { return "sid:" + upstream + "|" + session }

// Owners returns the names under which a store finds the grants of a person:
// the subject, and the session at the upstream.
func (p *Person) Owners() []string {
	if p.Session == "" {
		return []string{p.Subject}
	}
	return []string{p.Subject, SessionKey(p.Upstream, p.Session)}
}

// Name returns how to address the person: a name, else an e-mail address, else the user.
func (p *Person) Name() string {
	for _, s := range []string{p.Claims.String("name"), p.Claims.String("email")} {
		if s != "" {
			return s
		}
	}
	return p.User
}
