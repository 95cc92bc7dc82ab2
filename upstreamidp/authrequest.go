package upstreamidp

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// A Parameter goes with every authorization request (RFC 6749 §4.1.1), for what
// a provider wants beyond the standard.
type Parameter struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// ours are the parameters that make the request what it is: another value would
// break the sign-in, or what protects it.
var ours = map[string]string{
	"client_id": "client_id", "client_secret": "client_secret", "scope": "scopes",
	"response_type": "", "response_mode": "", "redirect_uri": "", "state": "", "nonce": "",
	"code_challenge": "", "code_challenge_method": "", "code_verifier": "", "code": "", "grant_type": "",
	"request": "", "request_uri": "", "registration": "", "id_token_hint": "",
}

// check says what is wrong with a parameter. Names may contain printable ASCII
// only, since they go into a URL's query.
func (a Parameter) check() error {
	option, taken := ours[a.Name]
	switch {
	case taken && option != "":
		return fmt.Errorf("authorize %s: the gateway sends this parameter itself: want the option %s", a.Name, option)
	case taken:
		return fmt.Errorf("authorize %s: the gateway sends this parameter itself, and no other will do", a.Name)
	case a.Name == "" || strings.ContainsFunc(a.Name, func(r rune) bool { return r <= ' ' || r > '~' }):
		return fmt.Errorf("authorize %q: want the name of a parameter, such as access_type", a.Name)
	case a.Value == "":
		return fmt.Errorf("authorize %s: want a value", a.Name)
	case a.Name == "prompt" && slices.Contains(strings.Fields(a.Value), "none"):
		return fmt.Errorf("authorize prompt none: nobody could sign in who is not signed in there already")
	}
	return nil
}

// checkParameters checks each parameter, and that no name is repeated.
// A name that is given twice would reach the provider once, by the luck of the
// order.
func checkParameters(list []Parameter) error {
	seen := map[string]bool{}
	for _, a := range list {
		if err := a.check(); err != nil {
			return err
		}
		if seen[a.Name] {
			return fmt.Errorf("duplicate authorize %s: want one value for each parameter", a.Name)
		}
		seen[a.Name] = true
	}
	return nil
}

// Begin implements [deviceauth.Upstream] (OpenID Connect Core §3.1.2.1, RFC 7636).
// It returns the URL of the authorization request, with state, nonce and an
// S256 challenge. Errors are the discovery's: the provider is away, or its
// metadata are wrong.
func (p *Provider) Begin(ctx context.Context, a deviceauth.AuthRequest) (string, error) {
	d, err := p.discovery.get(ctx)
	if err != nil {
		return "", err
	}
	options := []oauth2.AuthCodeOption{oidc.Nonce(a.Nonce), oauth2.S256ChallengeOption(a.Verifier)}
	for name, values := range p.parameters(d, a) {
		options = append(options, oauth2.SetAuthURLParam(name, values[0]))
	}
	return p.client(d, a.RedirectURI).AuthCodeURL(a.State, options...), nil
}

// parameters are those that depend on the provider and on what the person does.
func (p *Provider) parameters(d *discovered, a deviceauth.AuthRequest) url.Values {
	all := url.Values{}
	for _, one := range p.cfg.Authorize {
		all.Set(one.Name, one.Value)
	}
	prompts := strings.Fields(all.Get("prompt"))
	if a.FreshSignIn { // with prompt=login, because providers heed the one or the other
		all.Set("max_age", "0")
	}
	if a.Prompt == promptLogin { // because the provider refused it
		prompts = slices.DeleteFunc(prompts, func(prompt string) bool { return prompt == promptSelect })
	}
	if a.Hint != "" {
		all.Set("login_hint", a.Hint)
	}
	for _, prompt := range p.prompts(d, a) {
		if !slices.Contains(prompts, prompt) {
			prompts = append(prompts, prompt)
		}
	}
	if len(prompts) > 0 {
		all.Set("prompt", strings.Join(prompts, " "))
	}
	return all
}

// prompts are those of an attempt. A provider that has no page where an account
// is chosen has one to sign in. A consent is asked for beside the choice that the
// person wanted, or the provider goes on with an account of its own choosing.
func (p *Provider) prompts(d *discovered, a deviceauth.AuthRequest) (list []string) {
	if a.FreshSignIn {
		list = append(list, promptLogin)
	}
	choose, knows := a.SwitchAccount && !a.FreshSignIn, !lacks(d.Prompts, promptSelect)
	switch {
	case choose && knows && a.Prompt != promptLogin:
		list = append(list, promptSelect)
	case choose && a.Prompt == "":
		list = append(list, promptLogin)
	}
	if a.Prompt != "" {
		list = append(list, a.Prompt)
	}
	return list
}

// The prompts of OpenID Connect Core §3.1.2.1.
const (
	promptLogin   = "login"
	promptSelect  = "select_account"
	promptConsent = "consent"
)

// unrelated are the errors that say nothing about a prompt (RFC 6749 §4.1.2.1).
// Providers that do not know select_account say so in many ways: invalid_request,
// account_selection_required, interaction_required and words of their own.
var unrelated = []string{
	"access_denied", "server_error", "temporarily_unavailable",
	"unauthorized_client", "unsupported_response_type", "invalid_scope",
}

// otherwise has a provider that refuses the request for the sake of its prompt
// asked without.
func (p *Provider) otherwise(d *discovered, a deviceauth.AuthRequest, code string, refusal error) error {
	selected := a.Prompt == "" && slices.Contains(strings.Fields(p.parameters(d, a).Get("prompt")), promptSelect)
	if selected && !slices.Contains(unrelated, code) {
		return &deviceauth.PromptError{Prompt: promptLogin, Err: refusal}
	}
	return refusal
}

// scopes are those to ask for. offline_access gives a refresh token where the
// provider knows it (OpenID Connect Core §11); others give one without, as
// [Config.Authorize] says or always, and refuse a scope that they do not know.
func (p *Provider) scopes(d *discovered) []string {
	if !p.cfg.Revalidate || slices.Contains(p.cfg.Scopes, scopeOffline) || lacks(d.Scopes, scopeOffline) {
		return p.cfg.Scopes
	}
	return append(slices.Clone(p.cfg.Scopes), scopeOffline)
}

const scopeOffline = "offline_access"

// unrefreshed is a sign-in without the refresh token that revalidate needs:
// many providers give one only with a consent (OpenID Connect Core §11), which
// they are asked for where it is needed and not at every sign-in. The account
// that has just signed in is named, since the same may be signed in there with
// others.
func (p *Provider) unrefreshed(d *discovered, a deviceauth.AuthRequest, person *deviceauth.Person) error {
	asked := p.parameters(d, a).Get("prompt")
	if a.Prompt != "" || lacks(d.Prompts, promptConsent) || slices.Contains(strings.Fields(asked), promptConsent) {
		return errNoRefresh
	}
	hint := cmp.Or(person.Claims.String("preferred_username"), person.Claims.String("email"))
	return &deviceauth.PromptError{Prompt: promptConsent, Hint: hint, Err: errNoRefresh}
}

// client is who we are in this attempt.
func (p *Provider) client(d *discovered, redirect string) *oauth2.Config {
	return &oauth2.Config{
		ClientID: p.cfg.ClientID, ClientSecret: p.cfg.ClientSecret.Reveal(), Endpoint: d.endpoint,
		RedirectURL: redirect, Scopes: p.scopes(d),
	}
}
