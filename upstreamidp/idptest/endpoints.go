package idptest

import (
	"crypto/rand"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// discovery serves the metadata. Behaviour.Metadata is merged last; a nil member
// removes one.
func (p *Provider) discovery(w http.ResponseWriter, _ *http.Request) {
	b := p.now()
	document := map[string]any{
		"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token",
		"jwks_uri":                                       p.URL + "/keys",
		"id_token_signing_alg_values_supported":          []string{"ES256"},
		"authorization_response_iss_parameter_supported": b.TellsIss,
	}
	if b.Userinfo != nil {
		document["userinfo_endpoint"] = p.URL + "/userinfo"
	}
	if b.PostOnly {
		document["token_endpoint_auth_methods_supported"] = []string{"client_secret_post"}
	}
	for name, value := range document {
		if b.Gone != "" && value == p.URL+b.Gone {
			document[name] = p.URL + "/moved" + b.Gone
		}
	}
	maps.Copy(document, b.Metadata)
	maps.DeleteFunc(document, func(_ string, value any) bool { return value == nil })
	reply(w, http.StatusOK, document)
}

// authorize signs the person in at once, or fails as Behaviour says.
func (p *Provider) authorize(w http.ResponseWriter, r *http.Request) {
	asked := r.URL.Query()
	if wrong := wrongRequest(asked); wrong != "" {
		http.Error(w, wrong, http.StatusBadRequest)
		return
	}
	http.Redirect(w, r, asked.Get("redirect_uri")+"?"+p.answer(asked).Encode(), http.StatusFound)
}

// wrongRequest returns what is wrong with an authorization request under OpenID
// Connect Core §3.1.2.1 and RFC 7636, or "".
func wrongRequest(asked url.Values) string {
	switch {
	case asked.Get("client_id") != ClientID:
		return "unknown client"
	case asked.Get("response_type") != "code":
		return "response_type is not code"
	case !slices.Contains(strings.Fields(asked.Get("scope")), "openid"):
		return "scope lacks openid"
	case asked.Get("code_challenge") == "" || asked.Get("code_challenge_method") != "S256":
		return "there is no S256 challenge"
	}
	return ""
}

// answer returns the parameters of the authorization response. They are sent in the
// query, the default response mode of the code flow (RFC 6749 §4.1.2).
func (p *Provider) answer(asked url.Values) url.Values {
	b := p.now()
	back := url.Values{"state": {asked.Get("state")}}
	switch {
	case b.WrongIss:
		back.Set("iss", "https://evil.example")
	case b.TellsIss && !b.NoIss:
		back.Set("iss", p.URL)
	}
	if wrong := b.refuses(asked); wrong != "" {
		back.Set("error", wrong)
		if b.Description != "" {
			back.Set("error_description", b.Description)
		}
		return back
	}
	code := rand.Text()
	back.Set("code", code)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.codes[code] = asked
	return back
}

// refuses returns the error for an authorization request that the provider refuses.
func (b Behaviour) refuses(asked url.Values) string {
	prompts := strings.Fields(asked.Get("prompt"))
	switch {
	case b.Error != "":
		return b.Error
	case b.NoSelect && slices.Contains(prompts, "select_account"):
		return "invalid_request"
	case b.Unasked && offline(asked):
		return "invalid_scope"
	}
	return ""
}

// refreshes reports whether a sign-in gets a refresh token.
func (b Behaviour) refreshes(asked url.Values) bool {
	consented := slices.Contains(strings.Fields(asked.Get("prompt")), "consent")
	return b.Refresh && (b.Unasked || offline(asked)) && (consented || !b.Consent)
}

// offline reports whether a request has the scope offline_access, which requests a
// refresh token (OpenID Connect Core §11).
func offline(asked url.Values) bool {
	return slices.Contains(strings.Fields(asked.Get("scope")), "offline_access")
}

// userinfo serves Behaviour.Userinfo. All sign-ins share one access token, since
// nothing else depends on it.
func (p *Provider) userinfo(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer "+accessToken {
		reply(w, http.StatusUnauthorized, map[string]any{"error": "invalid_token"})
		return
	}
	// sub has to be that of the ID token (OpenID Connect Core §5.3.2), unless a test
	// overrides it.
	info := map[string]any{"sub": "1"}
	maps.Copy(info, p.now().Userinfo)
	reply(w, http.StatusOK, info)
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}
