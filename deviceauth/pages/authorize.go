package pages

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/endpoint"
)

// The values of prompt (OpenID Connect Core §3.1.2.1). A question is always asked, so
// that consent asks for nothing more.
const (
	promptNone          = "none"
	promptLogin         = "login"
	promptConsent       = "consent"
	promptSelectAccount = "select_account"
)

// authorize is the authorization endpoint (RFC 6749 §3.1): a program on the computer of
// this browser, or a web application, asks for an authorization code. The request goes
// with the browser, sealed, to the sign-in and the question that devices have, too.
//
// Where the client or its redirect URI is not known, the person is told so on a page;
// any other mistake is told at the redirect URI (RFC 6749 §4.1.2.1).
func (h *Handler) authorize(r *http.Request) (*endpoint.Response, error) {
	// What can be read of a broken query is read: it may say where the error is to go.
	query, broken := url.ParseQuery(r.URL.RawQuery)
	query = withoutEmpty(query)
	request := codeRequestOf(query)
	// First of all: what is wrong with the rest is told at an address that is known.
	if err := h.checkRedirect(r, query, request); err != nil {
		return nil, err
	}
	if broken != nil {
		return h.refuse(r, request, deviceauth.NewError("invalid_request", "the query is not well-formed"))
	}
	if refusal := checkParameters(query); refusal != nil {
		return h.refuse(r, request, refusal)
	}
	// Whether the person is signed in matters to prompt=none alone; the question finds out anew.
	s, err := h.session(r)
	if err != nil {
		return nil, err
	}
	checked, err := h.cfg.Engine.CheckCodeRequest(r.Context(), request, h.cfg.ClientIP(r))
	if err == nil {
		err = checkPrompt(checked, s != nil)
	}
	if refusal := deviceauth.AsError(err); refusal != nil {
		return h.refuse(r, request, refusal)
	}
	if err != nil {
		return nil, err
	}
	return h.begin(r, checked)
}

// maxQuery bounds an authorization request that was sent by POST, in bytes of its address.
const maxQuery = 8 << 10

// authorizeByPost sends the browser here by GET (OpenID Connect Core §3.1.2.1 wants both
// methods): a form of another site brings no cookies along (SameSite=Lax), a navigation does.
func (h *Handler) authorizeByPost(r *http.Request) (*endpoint.Response, error) {
	r.Body = http.MaxBytesReader(nil, r.Body, endpoint.MaxBody)
	if err := r.ParseForm(); err != nil {
		return nil, deviceauth.NewError("unknown_client", "the form cannot be read")
	}
	query := r.PostForm.Encode() // of the body alone
	if len(query) > maxQuery {
		return nil, deviceauth.NewError("unknown_client", "the form is too large for an address")
	}
	return endpoint.Redirect(h.cfg.Authorize + "?" + query), nil
}

// codeRequestOf reads an authorization request.
func codeRequestOf(query url.Values) deviceauth.CodeRequest {
	return deviceauth.CodeRequest{
		ClientID: query.Get("client_id"), RedirectURI: query.Get("redirect_uri"), State: query.Get("state"),
		ResponseType: query.Get("response_type"), ResponseMode: query.Get("response_mode"),
		Scope: query.Get("scope"), Resource: append(query["resource"], query["audience"]...),
		Challenge: query.Get("code_challenge"), ChallengeMethod: query.Get("code_challenge_method"),
		Nonce: query.Get("nonce"), Prompt: prompts(query.Get("prompt")),
		Label: query.Get("device_name"),
	}
}

// checkRedirect says why there is no way back to the program, and has the operator's log
// say what was asked.
func (h *Handler) checkRedirect(r *http.Request, query url.Values, request deviceauth.CodeRequest) error {
	// Two values are two programs' wishes: which of them a proxy or a library before us has
	// looked at cannot be known.
	err := h.cfg.Engine.CheckRedirect(r.Context(), request.ClientID, request.RedirectURI)
	if err == nil && len(query["client_id"])+len(query["redirect_uri"]) > 2 {
		err = deviceauth.NewError("unknown_redirect", "client_id or redirect_uri is given more than once")
	}
	if refusal := deviceauth.AsError(err); refusal != nil {
		h.cfg.Log.Refused(r, "authorization request refused on a page", "", refusal.Code, fmt.Errorf(
			"%w: client_id %s, redirect_uri %s", err,
			deviceauth.Quotable(request.ClientID), deviceauth.Quotable(request.RedirectURI)))
	}
	return err
}

// withoutEmpty leaves out parameters without a value, which are as good as none (RFC 6749
// §3.1).
func withoutEmpty(query url.Values) url.Values {
	for name, values := range query {
		query[name] = slices.DeleteFunc(values, func(value string) bool { return value == "" })
	}
	return query
}

// checkParameters refuses what is wrong with a request whatever it asks for. A request
// object would say something else than what was looked at (OpenID Connect Core §6).
func checkParameters(query url.Values) *deviceauth.Error {
	if name := repeated(query); name != "" {
		return deviceauth.NewError("invalid_request", name+" is given more than once")
	}
	for _, values := range query {
		for _, value := range values {
			if strings.ContainsRune(value, 0) || !utf8.ValidString(value) {
				return deviceauth.NewError("invalid_request", "a parameter contains a NUL character, or is not UTF-8")
			}
		}
	}
	switch {
	case len(query["request"]) > 0:
		return deviceauth.NewError("request_not_supported", "want the parameters themselves")
	case len(query["request_uri"]) > 0:
		return deviceauth.NewError("request_uri_not_supported", "want the parameters themselves")
	}
	return nil
}

// prompts keeps the values of prompt that mean something here; the rest would only fill a
// cookie.
func prompts(asked string) string {
	known := []string{promptNone, promptLogin, promptConsent, promptSelectAccount}
	return strings.Join(slices.DeleteFunc(strings.Fields(asked), func(value string) bool {
		return !slices.Contains(known, value)
	}), " ")
}

// repeated names a parameter that is there more than once, which RFC 6749 §3.1 forbids
// and RFC 8707 §2 allows for resource alone.
func repeated(query url.Values) string {
	// In no order: which of several is named does not matter.
	for name, values := range query {
		if len(values) > 1 && name != "resource" && name != "audience" {
			return deviceauth.Quotable(name)
		}
	}
	return ""
}

// checkPrompt refuses what needs a page where none may be shown.
func checkPrompt(request deviceauth.CodeRequest, signedIn bool) error {
	switch {
	case !request.Prompts(promptNone):
		return nil
	case request.Prompt != promptNone:
		return deviceauth.NewError("invalid_request", "prompt: none stands alone")
	case !signedIn:
		return deviceauth.NewError("login_required", "nobody is signed in here in this browser")
	}
	return deviceauth.NewError("consent_required", "the person is always asked")
}

// begin has the browser keep the request, and goes on to the question, or to the choice
// of an account.
func (h *Handler) begin(r *http.Request, request deviceauth.CodeRequest) (*endpoint.Response, error) {
	// Without a session, the question leads to the sign-in by itself.
	next := "/confirm"
	if request.Prompts(promptSelectAccount) {
		next = "/sign-in?switch=1"
		request.Prompt = strings.TrimSpace(strings.ReplaceAll(request.Prompt, promptSelectAccount, "")) // once
	}
	f := h.flow(r).anew()
	// A browser that is new here gets an id, which the address is bound to.
	f.ID, f.Request = cmp.Or(f.ID, rand.Text()), &request
	cookies, err := h.sealFlowCookie(r, f)
	if err != nil {
		return nil, err
	}
	page, err := h.goOn(next, f)
	if err != nil {
		return nil, err
	}
	return page.AddCookies(cookies...), nil
}

// goOn leads to a page that is about a flow: with a program's request it is in the address,
// since two programs may begin at once, and there is one cookie.
func (h *Handler) goOn(page string, f flow) (*endpoint.Response, error) {
	if f.Request == nil {
		return endpoint.Redirect(h.cfg.Path + page), nil
	}
	sealed, err := h.sealFlow(f)
	if err != nil {
		return nil, err
	}
	separator := "?"
	if strings.Contains(page, "?") {
		separator = "&"
	}
	return endpoint.Redirect(h.cfg.Path + page + separator + flowField + "=" + sealed), nil
}

// refuse sends the browser back to the program with an error (RFC 6749 §4.1.2.1). To the site
// or the app of a client that nobody has checked a person goes by themselves: anybody can
// register a client, and have people sent anywhere by a link to here (RFC 9700 §4.11.2).
func (h *Handler) refuse(
	r *http.Request, request deviceauth.CodeRequest, refusal *deviceauth.Error,
) (*endpoint.Response, error) {
	to := h.back(request, url.Values{"error": {refusal.Code}, "error_description": {refusal.Description}})
	c, known := h.cfg.Engine.Client(request.ClientID)
	unchecked := known && c.Introduced && !c.Checked && !deviceauth.IsLoopbackRedirect(request.RedirectURI)
	if !unchecked {
		return endpoint.Redirect(to), nil
	}
	v := returnView{Name: c.Name, Address: template.URL(to), Refused: targetOf(request.RedirectURI).Name}
	return h.page(r, http.StatusBadRequest, "return", newMessage("return.title", c.Name), v)
}

// back is the address that leads back to a program: its redirect URI, which the client
// has registered, with the answer and the issuer's name, by which a client of several
// servers finds a mix-up (RFC 9207 §2).
func (h *Handler) back(request deviceauth.CodeRequest, answer url.Values) string {
	// An empty state is as good as none, and comes back as none.
	if request.State != "" {
		answer.Set("state", request.State)
	}
	answer.Set("iss", h.cfg.Engine.Issuer())
	separator := "?"
	// The query that the client registered is kept (RFC 6749 §3.1.2).
	if strings.Contains(request.RedirectURI, "?") {
		separator = "&"
	}
	return request.RedirectURI + separator + answer.Encode()
}
