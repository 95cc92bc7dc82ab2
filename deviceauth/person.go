package deviceauth

import "time"

// Claims are what an upstream said about a person, by claim name, as JSON
// decodes them. They are values: nobody changes a Claims after making it.
type Claims map[string]any

// String returns the claim as text, or "" when it is missing or no string.
func (c Claims) String(name string) string {
	s, _ := c[name].(string)
	return s
}

// Strings returns a claim that is a string or a list of strings as a list.
func (c Claims) Strings(name string) []string {
	switch v := c[name].(type) {
	case string:
		return []string{v}
	case []string:
		return v
	case []any:
		list := make([]string, 0, len(v))
		for _, item := range v {
			if s, ok := item.(string); ok {
				list = append(list, s)
			}
		}
		return list
	}
	return nil
}

// Bool reports whether the claim is true, as a boolean or, as some providers
// send it, as the string "true".
func (c Claims) Bool(name string) bool {
	return c[name] == true || c[name] == "true"
}

// A Person is who signed in: what an upstream vouched for, and nothing else.
type Person struct {
	Subject  string    `json:"sub"`                // "<upstream id>|<upstream sub>": unique, and stable when an upstream is added
	Upstream string    `json:"upstream"`           // the upstream's id
	User     string    `json:"user"`               // what a backend knows the person by; becomes Remote-User, see [Config]
	Claims   Claims    `json:"claims,omitempty"`   // the upstream's claims about the person
	AuthTime time.Time `json:"auth_time,omitzero"` // when the person last proved who they are; zero where the upstream did not say
	Session  string    `json:"sid,omitempty"`      // the upstream's session, where it named one (OpenID Connect Back-Channel Logout §2.1)
	SignedIn time.Time `json:"signed_in,omitzero"` // when this sign-in was begun, by our own clock
	Withheld []string  `json:"withheld,omitempty"` // claims that the upstream did not say in the token, or that are too large to keep
	Fresh    UserCode  `json:"fresh,omitempty"`    // the code that was on its way, where the person proved anew who they are
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
