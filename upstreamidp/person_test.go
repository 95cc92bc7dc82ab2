package upstreamidp

import (
	"reflect"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/upstreamidp/idptest"
)

func TestPersonIsWhoTheProviderSays(t *testing.T) {
	idp, p := setUp(t, func(c *Config) { c.UserClaim = "preferred_username" })
	person, err := signIn(t, idp, p, idptest.Behaviour{
		Claims: map[string]any{"sub": "4711", "name": "Alice", "auth_time": 1_700_000_000, "acr": "mfa", "jti": "x",
			"_claim_sources": map[string]any{}},
		Userinfo: map[string]any{"sub": "4711", "name": "somebody else", "preferred_username": "ålice",
			"groups": []string{"staff"}, "birthdate": "2000-01-01"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := deviceauth.Claims{"sub": "4711", "name": "Alice", "acr": "mfa", "preferred_username": "ålice",
		"groups": []any{"staff"}}
	if !reflect.DeepEqual(person.Claims, want) {
		t.Errorf("claims %v, want %v: what was signed wins, what it lacks is added", person.Claims, want)
	}
	if person.Subject != "work|4711" || person.Upstream != "work" || person.User != "ålice" ||
		person.AuthTime.Unix() != 1_700_000_000 {
		t.Errorf("got %+v", person)
	}
}

func TestClaimsThatRulesNameAreLookedForInUserinfo(t *testing.T) {
	idp, p := setUp(t, func(c *Config) { c.RuleClaims = []string{"department"} })
	person, err := signIn(t, idp, p,
		idptest.Behaviour{Userinfo: map[string]any{"department": "it", "birthdate": "2000-01-01"}})
	if err != nil || person.Claims["department"] != "it" || person.Claims["birthdate"] != nil {
		t.Errorf("got %+v, %v", person, err)
	}
}

func TestUserIsTheSubjectUnlessAClaimIsNamed(t *testing.T) {
	idp, p := setUp(t, nil)
	person, err := signIn(t, idp, p, idptest.Behaviour{Claims: map[string]any{"sub": "4711"}})
	if err != nil || person.User != "4711" || !person.AuthTime.IsZero() {
		t.Errorf("got %+v, %v", person, err)
	}
}

func TestUserinfoIsNotAskedWhenNothingIsMissing(t *testing.T) {
	idp, p := setUp(t, nil)
	all := map[string]any{"email_verified": false, "groups": []string{}}
	for _, name := range []string{"name", "email", "picture", "preferred_username"} {
		all[name] = "x"
	}
	if _, err := signIn(t, idp, p, idptest.Behaviour{Claims: all, Userinfo: map[string]any{}}); err != nil {
		t.Fatal(err)
	}
	if n := idp.Requests("/userinfo"); n != 0 {
		t.Errorf("asked %d times", n)
	}
}

func TestUserClaimThatIsMissingIsNamed(t *testing.T) {
	tests := []struct {
		name    string
		behave  idptest.Behaviour
		want    string
		refusal bool
	}{
		{name: "nobody says it", want: "employee", refusal: true},
		{name: "it is empty", behave: idptest.Behaviour{Claims: map[string]any{"employee": "\x00"}}, want: "employee",
			refusal: true},
		{name: "it is no text", behave: idptest.Behaviour{Claims: map[string]any{"employee": []int{7}}},
			want: "employee", refusal: true},
		{name: "userinfo is about somebody else",
			behave: idptest.Behaviour{Userinfo: map[string]any{"sub": "2", "employee": "e7"}}, want: "employee",
			refusal: true},
		{name: "userinfo cannot be asked", behave: idptest.Behaviour{Userinfo: map[string]any{}, UserinfoDown: true},
			want: "asking for userinfo"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			idp, p := setUp(t, func(c *Config) { c.UserClaim = "employee" })
			person, err := signIn(t, idp, p, test.behave)
			if err == nil || !strings.Contains(err.Error(), test.want) ||
				(deviceauth.AsError(err) != nil) != test.refusal {
				t.Errorf("got %+v, %v; want %q", person, err, test.want)
			}
		})
	}
}

// Two accounts must not become one: a name with invisible characters is refused and
// not cleaned.
//
// protocol 33
func TestUserAndSubjectAreTakenAsTheyAreOrNotAtAll(t *testing.T) {
	for _, name := range []string{
		"alice ", " alice", "alice\u200b", "ali\u00adce", "ali\x07ce", "alice\n", "alice\u00a0", "\ufeffalice",
		"alice\u202e", "alice\u2060",
		"alice\ufe0f", "alice\U000e0041", "alice\u3164", "alice\ufffd", "\u200b", " ",
	} {
		for _, claim := range []string{"sub", "employee"} {
			for _, userClaim := range []string{"", "employee"} {
				if claim == "employee" && userClaim == "" {
					continue
				}
				claims := map[string]any{"sub": "1", "employee": "e7"}
				claims[claim] = name
				idp, p := setUp(t, func(c *Config) { c.UserClaim = userClaim })
				person, err := signIn(t, idp, p, idptest.Behaviour{Claims: claims})
				refusal := deviceauth.AsError(err)
				if refusal == nil || refusal.Code != "sign_in_unclean" || refusal.Description != claim {
					t.Errorf("%s %q, user %q: got %+v, %v", claim, name, userClaim, person, err)
				}
			}
		}
	}
}

func TestUserOfAnyScriptIsAUser(t *testing.T) {
	for _, name := range []string{"Zoë", "李雷", "أليس", "alice,bob", "Alice Liddell", "alice@example.com"} {
		idp, p := setUp(t, func(c *Config) { c.UserClaim = "employee" })
		if person, err := signIn(t, idp, p, idptest.Behaviour{Claims: map[string]any{"employee": name}}); err != nil ||
			person.User != name {
			t.Errorf("%q: got %+v, %v", name, person, err)
		}
	}
}

func TestUserClaimMayComeFromEither(t *testing.T) {
	for name, behave := range map[string]idptest.Behaviour{
		"the ID token": {Claims: map[string]any{"employee": "e7"}},
		"userinfo":     {Userinfo: map[string]any{"employee": "e7"}},
		"the ID token, with userinfo down": {Claims: map[string]any{"employee": "e7"}, Userinfo: map[string]any{},
			UserinfoDown: true},
	} {
		t.Run(name, func(t *testing.T) {
			idp, p := setUp(t, func(c *Config) { c.UserClaim = "employee" })
			if person, err := signIn(t, idp, p, behave); err != nil || person.User != "e7" {
				t.Errorf("got %+v, %v", person, err)
			}
		})
	}
}

func TestRulesAreNotDecidedWithoutTheirClaims(t *testing.T) {
	for _, claim := range []string{"groups", "email"} {
		idp, p := setUp(t, func(c *Config) { c.RuleClaims = []string{claim} })
		down := idptest.Behaviour{Claims: map[string]any{"email": "a@example.com"},
			Userinfo: map[string]any{"groups": []string{"staff"}}, UserinfoDown: true}
		if person, err := signIn(t, idp, p, down); err == nil || deviceauth.AsError(err) != nil {
			t.Errorf("%s: got %+v, %v, want a fault", claim, person, err)
		}
		down.UserinfoDown = false
		if _, err := signIn(t, idp, p, down); err != nil {
			t.Errorf("%s: %v", claim, err)
		}
	}
}

func TestUserinfoOfAnotherSubjectIsIgnored(t *testing.T) {
	idp, p := setUp(t, nil)
	person, err := signIn(t, idp, p,
		idptest.Behaviour{Userinfo: map[string]any{"sub": "2", "groups": []string{"admins"}}})
	if err != nil || person.Claims["groups"] != nil {
		t.Errorf("got %+v, %v", person, err)
	}
}

func TestOneAddressIsNotVerifiedByAnother(t *testing.T) {
	idp, p := setUp(t, nil)
	for address, want := range map[string]any{"mine@example.com": true, "other@example.com": nil} {
		person, err := signIn(t, idp, p, idptest.Behaviour{
			Claims:   map[string]any{"email": "mine@example.com"},
			Userinfo: map[string]any{"email": address, "email_verified": true},
		})
		if err != nil || person.Claims["email_verified"] != want {
			t.Errorf("userinfo about %s: %+v, %v", address, person, err)
		}
	}
}

func TestUserIsNoUnverifiedAddress(t *testing.T) {
	idp, p := setUp(t, func(c *Config) { c.UserClaim = "email" })
	claims := map[string]any{"email": "a@example.com", "email_verified": false}
	if _, err := signIn(t, idp, p, idptest.Behaviour{Claims: claims}); deviceauth.AsError(err) == nil {
		t.Errorf("got %v", err)
	}
	for _, verified := range []any{true, "true", nil} {
		claims["email_verified"] = verified
		if verified == nil {
			delete(claims, "email_verified")
		}
		if person, err := signIn(t, idp, p, idptest.Behaviour{Claims: claims}); err != nil ||
			person.User != "a@example.com" {
			t.Errorf("verified %v: %+v, %v", verified, person, err)
		}
	}
}

func TestTimeThatIsNoDateIsNotTold(t *testing.T) {
	for _, at := range []any{nil, "1700000000", -1.0, 0.0, 1e18, 1e300} {
		if got := authTime(deviceauth.Claims{"auth_time": at}); !got.IsZero() {
			t.Errorf("%v becomes %v", at, got)
		}
	}
}
