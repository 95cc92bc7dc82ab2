package pages

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/endpoint"
)

// The values of prompt (OpenID Connect Core §3.1.2.1). A question is always asked, so
// that consent asks for nothing more.
const (
	promptNone          = "none"
	promptLogin         = "login"
	promptSelectAccount = "select_account"
)

// authorize is the authorization endpoint (RFC 6749 §3.1): a program on the computer of
// this browser, or a web application, asks for an authorization code. The request goes
// with the browser, sealed, to the sign-in and the question that devices have, too.
//
// Where the client or its redirect URI is not known, the person is told so on a page;
// any other mistake is told at the redirect URI (RFC 6749 §4.1.2.1).
func (h *Handler) authorize(r *http.Request) (*endpoint.Response, error) {
	query := r.URL.Query()
	request := codeRequestOf(query)
	if err := h.checkRedirect(r, query, request); err != nil {
		return nil, err
	}
	if name := repeated(query); name != "" {
		return h.refuse(request, deviceauth.NewError("invalid_request", name+" is given more than once")), nil
	}
	s, err := h.session(r)
	if err != nil {
		return nil, err
	}
	checked, err := h.cfg.Engine.CheckCodeRequest(r.Context(), request, h.cfg.ClientIP(r))
	if err == nil {
		err = checkPrompt(checked, s != nil)
	}
	if refusal := deviceauth.AsError(err); refusal != nil {
		return h.refuse(request, refusal), nil
	}
	if err != nil {
		return nil, err
	}
	return h.begin(r, checked)
}

// authorizeByPost sends the browser here by GET (OpenID Connect Core §3.1.2.1 wants both
// methods): a form of another site brings no cookies along (SameSite=Lax), a navigation does.
func (h *Handler) authorizeByPost(r *http.Request) (*endpoint.Response, error) {
	r.Body = http.MaxBytesReader(nil, r.Body, endpoint.MaxBody)
	if err := r.ParseForm(); err != nil {
		return nil, deviceauth.NewError("unknown_client", "the form cannot be read")
	}
	return endpoint.Redirect(h.cfg.Authorize + "?" + r.Form.Encode()), nil
}

// codeRequestOf reads an authorization request.
func codeRequestOf(query url.Values) deviceauth.CodeRequest {
	return deviceauth.CodeRequest{
		ClientID: query.Get("client_id"), RedirectURI: query.Get("redirect_uri"), State: query.Get("state"),
		ResponseType: query.Get("response_type"), ResponseMode: query.Get("response_mode"),
		Scope: query.Get("scope"), Resource: append(query["resource"], query["audience"]...),
		Challenge: query.Get("code_challenge"), ChallengeMethod: query.Get("code_challenge_method"),
		Nonce: query.Get("nonce"), Prompt: query.Get("prompt"),
		Label: query.Get("device_name"),
	}
}

// checkRedirect says why there is no way back to the program, and has the operator's log
// say what was asked.
func (h *Handler) checkRedirect(r *http.Request, query url.Values, request deviceauth.CodeRequest) error {
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

// repeated names a parameter that is there more than once, which RFC 6749 §3.1 forbids
// and RFC 8707 §2 allows for resource alone.
func repeated(query url.Values) string {
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
	next := "/confirm"
	if request.Prompts(promptSelectAccount) {
		next = "/sign-in?switch=1"
		request.Prompt = strings.ReplaceAll(request.Prompt, promptSelectAccount, "") // once
	}
	cookies, err := h.sealFlowCookie(r, flow{ID: h.flow(r).ID, Request: &request})
	if err != nil {
		return nil, err
	}
	return endpoint.Redirect(h.cfg.Path + next).AddCookies(cookies...), nil
}

// refuse sends the browser back to the program with an error (RFC 6749 §4.1.2.1).
func (h *Handler) refuse(request deviceauth.CodeRequest, refusal *deviceauth.Error) *endpoint.Response {
	return endpoint.Redirect(h.back(request, url.Values{
		"error": {refusal.Code}, "error_description": {refusal.Description},
	}))
}

// back is the address that leads back to a program: its redirect URI, which the client
// has registered, with the answer and the issuer's name, by which a client of several
// servers finds a mix-up (RFC 9207 §2).
func (h *Handler) back(request deviceauth.CodeRequest, answer url.Values) string {
	if request.State != "" {
		answer.Set("state", request.State)
	}
	answer.Set("iss", h.cfg.Engine.Issuer())
	separator := "?"
	if strings.Contains(request.RedirectURI, "?") {
		separator = "&"
	}
	return request.RedirectURI + separator + answer.Encode()
}
