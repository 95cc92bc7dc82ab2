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

// A Parameter is added to every authorization request (RFC 6749 §4.1.1), for what a
// provider needs beyond the standard.
type Parameter struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// reservedParameters are set by the gateway itself: another value would break the
// sign-in or its protection. The values are the options that set them, if any.
var reservedParameters = map[string]string{
	"client_id": "client_id", "client_secret": "client_secret", "scope": "scopes",
	"response_type": "", "response_mode": "", "redirect_uri": "", "state": "", "nonce": "",
	"code_challenge": "", "code_challenge_method": "", "code_verifier": "", "code": "", "grant_type": "",
	"request": "", "request_uri": "", "registration": "", "id_token_hint": "",
}

// check validates a parameter. Names must be printable ASCII, since they are part of
// a URL's query.
func (a Parameter) check() error {
	option, taken := reservedParameters[a.Name]
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

// checkParameters validates each parameter, and that no name is repeated: only one of
// the values would reach the provider, depending on the order.
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

// Begin implements [deviceauth.Upstream] (OpenID Connect Core §3.1.2.1, RFC 7636). It
// returns the URL of the authorization request, with state, nonce and an S256
// challenge. Its errors are those of discovery: the provider is unavailable, or its
// metadata are invalid.
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

// parameters returns the parameters that depend on the provider and on the person's
// request.
func (p *Provider) parameters(d *discovered, a deviceauth.AuthRequest) url.Values {
	all := url.Values{}
	for _, one := range p.cfg.Authorize {
		all.Set(one.Name, one.Value)
	}
	prompts := strings.Fields(all.Get("prompt"))
	if a.FreshSignIn { // together with prompt=login, because providers support one or the other
		all.Set("max_age", "0")
	}
	if a.Prompt == promptLogin { // because the provider refused select_account
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

// prompts returns the values of prompt for an attempt. If a provider does not support
// the choice of an account, its login page is requested. A consent is requested in
// addition to the choice that the person wanted, because otherwise the provider would
// continue with an account of its own choice.
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

// unrelatedErrors are errors that do not depend on a prompt (RFC 6749 §4.1.2.1).
// Providers that do not support select_account return various others:
// invalid_request, account_selection_required, interaction_required and non-standard
// ones.
var unrelatedErrors = []string{
	"access_denied", "server_error", "temporarily_unavailable",
	"unauthorized_client", "unsupported_response_type", "invalid_scope",
}

// withoutSelect returns a PromptError if the provider may have refused the request
// because of prompt=select_account, so that the sign-in is repeated without it.
func (p *Provider) withoutSelect(d *discovered, a deviceauth.AuthRequest, code string, refusal error) error {
	selected := a.Prompt == "" && slices.Contains(strings.Fields(p.parameters(d, a).Get("prompt")), promptSelect)
	if selected && !slices.Contains(unrelatedErrors, code) {
		return &deviceauth.PromptError{Prompt: promptLogin, Err: refusal}
	}
	return refusal
}

// scopes returns the scopes to request. offline_access yields a refresh token if the
// provider supports it (OpenID Connect Core §11). Other providers issue one without
// it, always or because of [Config.Authorize], and refuse an unknown scope.
func (p *Provider) scopes(d *discovered) []string {
	if !p.cfg.Revalidate || slices.Contains(p.cfg.Scopes, scopeOffline) || lacks(d.Scopes, scopeOffline) {
		return p.cfg.Scopes
	}
	return append(slices.Clone(p.cfg.Scopes), scopeOffline)
}

const scopeOffline = "offline_access"

// withConsent returns the error for a sign-in without the refresh token that
// Revalidate needs. Many providers issue one only with a consent (OpenID Connect Core
// §11), so it is a PromptError that requests the consent only when needed and not at
// every sign-in. It names the account that has just signed in, since the person may
// be signed in there with several.
func (p *Provider) withConsent(d *discovered, a deviceauth.AuthRequest, person *deviceauth.Person) error {
	asked := p.parameters(d, a).Get("prompt")
	if a.Prompt != "" || lacks(d.Prompts, promptConsent) || slices.Contains(strings.Fields(asked), promptConsent) {
		return errNoRefresh
	}
	hint := cmp.Or(person.Claims.String("preferred_username"), person.Claims.String("email"))
	return &deviceauth.PromptError{Prompt: promptConsent, Hint: hint, Err: errNoRefresh}
}

// client returns the OAuth client for an attempt.
func (p *Provider) client(d *discovered, redirect string) *oauth2.Config {
	return &oauth2.Config{
		ClientID: p.cfg.ClientID, ClientSecret: p.cfg.ClientSecret.Reveal(), Endpoint: d.endpoint,
		RedirectURL: redirect, Scopes: p.scopes(d),
	}
}
