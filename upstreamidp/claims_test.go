package upstreamidp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/upstreamidp/idptest"
)

// logging sets a provider up whose log is kept.
func logging(t *testing.T, change func(*Config)) (*idptest.Provider, *Provider, *bytes.Buffer) {
	t.Helper()
	log := new(bytes.Buffer)
	idp, p := setUp(t, func(c *Config) {
		c.Log = slog.New(slog.NewTextHandler(log, nil))
		if change != nil {
			change(c)
		}
	})
	return idp, p, log
}

// list is a list of groups that takes so many bytes as JSON.
func list(size int) (groups []any) {
	for n := 1; n+11 <= size; n += 11 {
		groups = append(groups, "12345678")
	}
	if groups[0] = strings.Repeat("x", size-11*len(groups)-1+8); sizeOf(groups) != size {
		panic(sizeOf(groups))
	}
	return groups
}

// protocol 41
func TestClaimsThatAreNotReadAreNotKept(t *testing.T) {
	idp, p, log := logging(t, func(c *Config) {
		c.UserClaim, c.RuleClaims, c.BackendClaims = "employee", []string{"department"}, []string{"office"}
	})
	person, err := signIn(t, idp, p, idptest.Behaviour{Claims: map[string]any{
		"employee": "e7", "department": "it", "office": 4, "roles": []string{"a"}, "entitlements": []string{"b"},
		"amr":        []string{"pwd"},
		"given_name": "Alice", "picture": "https://a.example/a", "locale": "de", "email": "a@example.com",
		"email_verified": true,
		"blob":           strings.Repeat("x", 1<<17), "realm_access": map[string]any{"roles": []string{"x"}},
		"hasgroups": false, "ssn": "1",
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"amr", "department", "email", "email_verified", "employee", "entitlements", "given_name", "locale",
		"office", "picture", "roles", "sub"}
	if got := slices.Sorted(maps.Keys(person.Claims)); !slices.Equal(got, want) {
		t.Errorf("kept\n%v, want\n%v", got, want)
	}
	if log.Len() != 0 {
		t.Errorf("what nobody reads is told of:\n%s", log)
	}
}

// Claims within claims are reached by their way, whether the ID token has them or
// userinfo; numbers and booleans are texts, and no digit of them is lost.
func TestClaimsWithinClaimsAreReached(t *testing.T) {
	idp, p, _ := logging(t, func(c *Config) {
		c.UserClaim = "staff.number"
		c.RuleClaims = []string{"realm_access.roles", "resource_access.my.app.roles",
			"https://example.com/roles", "a.b",
			"level", "nowhere.at.all", "sub.x"}
	})
	person, err := signIn(t, idp, p, idptest.Behaviour{Claims: map[string]any{
		"staff":        map[string]any{"number": json.Number("90071992547409931")},
		"realm_access": map[string]any{"roles": []string{"admin", "offline_access"}},
		"resource_access": map[string]any{
			"my.app": map[string]any{"roles": []string{"reader"}}, "other": map[string]any{"roles": []string{"writer"}},
		},
		"https://example.com/roles": []any{"editor", 7, true, nil, []string{"no"}},
		"a.b":                       "itself", "a": map[string]any{"b": "within"},
		"level": 5,
	}})
	if err != nil {
		t.Fatal(err)
	}
	stored, err := json.Marshal(person.Claims)
	if err != nil {
		t.Fatal(err)
	}
	var again deviceauth.Claims
	if err := json.Unmarshal(stored, &again); err != nil {
		t.Fatal(err)
	}
	if person.User != "90071992547409931" {
		t.Errorf("the user is %q", person.User)
	}
	for _, claims := range []deviceauth.Claims{person.Claims, again} {
		for name, want := range map[string]string{
			"realm_access.roles": "admin,offline_access", "resource_access.my.app.roles": "reader",
			"https://example.com/roles": "editor,7,true",
			"a.b":                       "itself", "level": "5", "nowhere.at.all": "",
			"staff.number": "90071992547409931",
			"realm_access": "",
		} {
			if got := strings.Join(claims.Strings(name), ","); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
	}
}

// protocol 41
func TestClaimsThatAreTooLargeAreLeftOut(t *testing.T) {
	tests := []struct {
		name  string
		claim string
		value any
		kept  bool
	}{
		{"a session that is too long", "sid", strings.Repeat("x", maxText+1), false},
		{"the longest text", "picture", strings.Repeat("x", maxText), true},
		{"a text that is too long", "picture", strings.Repeat("x", maxText+1), false},
		{"the longest list", "groups", list(maxList), true},
		{"a list that is too long", "groups", list(maxList + 1), false},
		{"a thing that is too large", "roles", map[string]any{"a": list(maxList)}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			idp, p, log := logging(t, nil)
			person, err := signIn(t, idp, p, idptest.Behaviour{Claims: map[string]any{test.claim: test.value}})
			if err != nil {
				t.Fatal(err)
			}
			if _, kept := person.Claims[test.claim]; kept != test.kept ||
				slices.Contains(person.Withheld, test.claim) == kept {
				t.Errorf("kept: %v, withheld %v", kept, person.Withheld)
			}
			logged := strings.Count(log.String(), "\n") == 1 && strings.Contains(log.String(), "upstream=work") &&
				strings.Contains(log.String(), "claims=["+test.claim+"]")
			if logged == test.kept {
				t.Errorf("the log says:\n%.500s", log)
			}
		})
	}
}

// What decides something is the last to go.
//
// protocol 41
func TestClaimsOfAPersonAreBoundedTogether(t *testing.T) {
	idp, p, _ := logging(t, func(c *Config) { c.RuleClaims = []string{"teams"} })
	claims := map[string]any{"teams": list(maxList), "email": "a@example.com"}
	for _, name := range []string{"groups", "roles", "entitlements", "amr", "website", "zoneinfo"} {
		claims[name] = list(maxList)
	}
	person, err := signIn(t, idp, p, idptest.Behaviour{Claims: claims})
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, value := range person.Claims {
		document, _ := json.Marshal(value)
		total += len(document)
	}
	if total > maxClaims || person.Claims["teams"] == nil || person.Claims["groups"] == nil ||
		person.Claims["zoneinfo"] != nil {
		t.Errorf("%d bytes are kept of %v; left out are %v", total, slices.Sorted(maps.Keys(person.Claims)),
			person.Withheld)
	}
}

// protocol 44
func TestGroupsThatAreLeftOutAreTold(t *testing.T) {
	reference := map[string]any{"groups": "src1"}
	source := map[string]any{"src1": map[string]any{"endpoint": "https://graph.example/groups",
		"access_token": "hunter2"}}
	tests := []struct {
		name   string
		behave idptest.Behaviour
		want   []string
	}{
		{"by a reference", idptest.Behaviour{Claims: map[string]any{"_claim_names": reference,
			"_claim_sources": source}}, []string{"groups"}},
		{"by a word", idptest.Behaviour{Claims: map[string]any{"hasgroups": true}}, []string{"groups"}},
		{"by a word that is a text", idptest.Behaviour{Claims: map[string]any{"hasgroups": "true"}},
			[]string{"groups"}},
		{"and userinfo has them", idptest.Behaviour{
			Claims:   map[string]any{"_claim_names": reference, "_claim_sources": source},
			Userinfo: map[string]any{"groups": []string{"staff"}},
		}, nil},
		{"others than those that anybody reads", idptest.Behaviour{
			Claims: map[string]any{"_claim_names": map[string]any{"shoe_size": "src1"}, "_claim_sources": source},
		}, nil},
		{"not at all", idptest.Behaviour{Claims: map[string]any{"groups": []string{"staff"}}}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			idp, p, log := logging(t, nil)
			person, err := signIn(t, idp, p, test.behave)
			if err != nil || !slices.Equal(person.Withheld, test.want) {
				t.Fatalf("got %+v, %v", person, err)
			}
			if strings.Contains(fmt.Sprint(person)+log.String(), "hunter2") {
				t.Error("a token is handed on")
			}
			if logged := strings.Contains(log.String(), "claims=[groups]"); logged != (test.want != nil) {
				t.Errorf("the log says:\n%s", log)
			}
		})
	}
}

// protocol 23
func TestGroupsThatAreLeftOutLaterAreTold(t *testing.T) {
	for _, noID := range []bool{false, true} {
		idp, p, _, person := known(t, idptest.Behaviour{Claims: map[string]any{"hasgroups": true},
			Userinfo: map[string]any{}})
		if !slices.Equal(person.Withheld, []string{"groups"}) {
			t.Fatalf("got %+v", person)
		}
		fewer := map[string]any{"groups": []string{"staff"}}
		idp.Behave(idptest.Behaviour{Refresh: true, NoID: noID, Claims: fewer, Userinfo: fewer})
		now, err := p.Revalidate(t.Context(), person)
		if err != nil || len(now.Withheld) != 0 || !reflect.DeepEqual(now.Claims.Strings("groups"), []string{"staff"}) {
			t.Errorf("without an ID token %v, when there are fewer: %+v, %v", noID, now, err)
		}
		more := map[string]any{"groups": list(maxList + 1)}
		idp.Behave(idptest.Behaviour{Refresh: true, NoID: noID, Claims: more, Userinfo: more})
		now, err = p.Revalidate(t.Context(), now)
		if err != nil || !slices.Equal(now.Withheld, []string{"groups"}) || now.Claims["groups"] != nil {
			t.Errorf("without an ID token %v, when there are more: %v, %v", noID, now.Withheld, err)
		}
	}
}
