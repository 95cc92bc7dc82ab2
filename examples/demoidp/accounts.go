package demoidp

import "github.com/zitadel/oidc/v3/pkg/oidc"

// An account is a person who can sign in with one click.
type account struct {
	ID, Given, Family string
	Groups            []string
}

// accounts are the people of the demo.
var accounts = []account{
	{ID: "alice", Given: "Alice", Family: "Example", Groups: []string{"device-owners", "staff"}},
	{ID: "bob", Given: "Bob", Family: "Example", Groups: []string{"staff"}},
}

// Name and Email are for the login page and for the claims.
func (a account) Name() string  { return a.Given + " " + a.Family }
func (a account) Email() string { return a.ID + "@example.com" }

// accountByID returns the account with an id. The id comes from a form or a
// path, so it may be anything.
func accountByID(id string) (account, bool) {
	for _, a := range accounts {
		if a.ID == id {
			return a, true
		}
	}
	return account{}, false
}

// claims adds the claims of the account that the scopes permit. The subject has
// a prefix, so that no test can confuse it with the user name. The scopes are
// those of OpenID Connect Core §5.4, and groups, which is not a standard one.
func (a account) claims(info *oidc.UserInfo, issuer string, scopes []string) {
	info.Subject = "demo-" + a.ID
	for _, scope := range scopes {
		switch scope {
		case oidc.ScopeProfile:
			info.Name, info.GivenName, info.FamilyName = a.Name(), a.Given, a.Family
			info.PreferredUsername, info.Picture = a.ID, issuer+"/avatar/"+a.ID+".svg"
		case oidc.ScopeEmail:
			info.Email, info.EmailVerified = a.Email(), true
		case "groups":
			info.AppendClaims("groups", a.Groups)
		}
	}
}
