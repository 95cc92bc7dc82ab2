package deviceauth_test

import (
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// upstreams configures where people sign in, with the claims that are their users.
func upstreams(users map[string]string) func(*deviceauth.Config) {
	return func(c *deviceauth.Config) {
		c.Allow, c.UserClaim = map[string][]deviceauth.Allow{}, users
		for id := range users {
			c.Allow[id] = nil
		}
	}
}

// at is a person of an upstream, as package upstreamidp makes one.
func at(upstream, sub, user string) *deviceauth.Person {
	return &deviceauth.Person{Subject: upstream + "|" + sub, Upstream: upstream, User: user}
}

// connect gives a person's device tokens.
func (w *world) connect(p *deviceauth.Person) *deviceauth.Tokens {
	w.Helper()
	a := w.authorize()
	g, err := w.inspect(p, a.UserCode)
	w.wants("", err)
	if err == nil {
		_, err = w.Answer(w.Context(), deviceauth.AnswerRequest{Grant: g.ID, Allow: true, Person: p, From: here})
		w.wants("", err)
	}
	tokens, err := w.poll(a)
	if err != nil {
		w.Fatal(err)
	}
	return tokens
}

// isKept wants a user in the store, from where operators and audit events have it.
func (w *world) isKept(token deviceauth.Secret, user string) {
	w.Helper()
	g, err := w.store.Get(w.Context(), w.introspects(true, token).Claims.Grant)
	if err != nil || g.Person.User != user {
		w.Errorf("the store has %+v, %v; want %q", g.Person, err, user)
	}
}

// wantIdentity requires the identity that backends and remote guards get.
func (w *world) wantIdentity(token deviceauth.Secret, user, upstream string) {
	w.Helper()
	id, err := w.ValidateToken(w.Context(), token.Reveal(), deviceauth.Requirement{})
	if err != nil {
		w.Fatal(err)
	}
	if id.Claim("user") != user || id.Claim("upstream") != upstream {
		w.Errorf("backends are told %q of %q, want %q of %q", id.Claim("user"), id.Claim("upstream"), user, upstream)
	}
	far := w.introspects(true, token)
	if far.User != user || far.Person.User != user || far.Person.Upstream != upstream {
		w.Errorf("a guard elsewhere is told %q, %+v", far.User, far.Person)
	}
}

// protocol 33
func TestUpstreamsAreNotEachOthersPeople(t *testing.T) {
	tests := map[string]struct {
		users          map[string]string
		person         *deviceauth.Person
		user, upstream string
	}{
		"one": {map[string]string{"work": ""}, at("work", "alice", "alice"), "alice", ""},
		"one, by a claim": {map[string]string{"work": "email"}, at("work", "7", "a@example.com"),
			"a@example.com", ""},
		"several": {map[string]string{"work": "", "partner": ""}, at("work", "alice", "alice"),
			"work|alice", "work"},
		"the other": {map[string]string{"work": "", "partner": ""}, at("partner", "alice", "alice"),
			"partner|alice", "partner"},
		"several, one by a claim": {map[string]string{"work": "email", "partner": ""},
			at("work", "7", "a@example.com"), "a@example.com", "work"},
		"several, the one without": {map[string]string{"work": "email", "partner": ""}, at("partner", "7", "7"),
			"partner|7", "partner"},
		"one with a bar in it": {map[string]string{"work": "email", "partner": ""}, at("work", "7", "x|y"),
			"x|y", "work"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			in(t, func(w *world) {
				tokens := w.connect(test.person)
				w.wantIdentity(tokens.AccessToken, test.user, test.upstream)
				w.isKept(tokens.AccessToken, test.user)
				tokens, err := w.refresh(tokens.RefreshToken, "")
				w.wants("", err)
				w.wantIdentity(tokens.AccessToken, test.user, test.upstream)
			}, upstreams(test.users), withFarGuard)
		})
	}
}

// A person in the store is older than the configuration.
//
// protocol 33
func TestPersonIsToldApartFromTheDayThatThereAreSeveral(t *testing.T) {
	in(t, func(w *world) {
		tokens := w.connect(at("work", "alice", "alice"))
		w.wantIdentity(tokens.AccessToken, "alice", "")
		w.anew(upstreams(map[string]string{"work": "", "partner": ""}))
		w.wantIdentity(tokens.AccessToken, "work|alice", "work")
		w.isKept(tokens.AccessToken, "alice")
		theirs := w.connect(at("partner", "alice", "alice"))
		w.wantIdentity(theirs.AccessToken, "partner|alice", "partner")
		tokens, err := w.refresh(tokens.RefreshToken, "")
		w.wants("", err)
		w.isKept(tokens.AccessToken, "work|alice")
		w.anew(upstreams(map[string]string{"work": ""}))
		w.wantIdentity(tokens.AccessToken, "alice", "")
		w.wantIdentity(theirs.AccessToken, "partner|alice", "partner") // taken out, and still not work's
	}, upstreams(map[string]string{"work": ""}), withFarGuard)
}

// protocol 33, 44
func TestUserThatReadsAsAnothersSubjectIsRefused(t *testing.T) {
	in(t, func(w *world) {
		_, err := w.inspect(at("partner", "7", "work|alice"), w.authorize().UserCode)
		w.wants("not_permitted", err)
		tokens := w.connect(at("partner", "7", "bob"))
		w.become(tokens.AccessToken, deviceauth.Person{Subject: "partner|7", Upstream: "partner", User: "work|alice"})
		w.wants("invalid_token", w.admit(tokens.AccessToken))
	}, upstreams(map[string]string{"work": "", "partner": "nickname"}), withFarGuard)
}

func TestUsersThatMayBeTheSameAreAdvisedAgainst(t *testing.T) {
	t.Parallel()
	for want, users := range map[string]map[string]string{
		"":              {"work": "email", "partner": ""},
		"partner, work": {"work": "preferred_username", "partner": "email", "other": ""},
	} {
		c := config()
		upstreams(users)(&c)
		if advice := strings.Join(c.Advice(), "\n"); (advice == "") != (want == "") || !strings.Contains(advice, want) {
			t.Errorf("%v: %q", users, advice)
		}
	}
}
