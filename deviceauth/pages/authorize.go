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
	"time"
	"unicode/utf8"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/endpoint"
)

// The values of prompt (OpenID Connect Core §3.1.2.1). The person is always asked, so
// consent has no further effect.
const (
	promptNone          = "none"
	promptLogin         = "login"
	promptConsent       = "consent"
	promptSelectAccount = "select_account"
)

// authorize serves the authorization endpoint (RFC 6749 §3.1): a native app on the
// computer of this browser, or a web application, requests an authorization code. The
// request is kept encrypted in the browser, and leads to the same sign-in and
// question as a device's code.
//
// If the client or its redirect URI is unknown, a page tells the person; any other
// error is sent to the redirect URI (RFC 6749 §4.1.2.1).
func (h *Handler) authorize(r *http.Request) (*endpoint.Response, error) {
	// A malformed query is parsed as far as possible: it may have the redirect URI
	// for the error.
	query, broken := url.ParseQuery(r.URL.RawQuery)
	query = withoutEmpty(query)
	request := codeRequestOf(query)
	// Checked first, because other errors are sent to the redirect URI.
	if err := h.checkRedirect(r, query, request); err != nil {
		return nil, err
	}
	if broken != nil {
		return h.refuse(r, request, deviceauth.NewError("invalid_request", "the query is not well-formed"))
	}
	if refusal := checkParameters(query); refusal != nil {
		return h.refuse(r, request, refusal)
	}
	// The session matters only for prompt=none; the question checks it again.
	s, err := h.session(r)
	if err != nil {
		return nil, err
	}
	checked, err := h.cfg.Engine.CheckCodeRequest(r.Context(), request, h.cfg.ClientIP(r))
	if err == nil {
		err = checkPrompt(checked, s)
	}
	if refusal := deviceauth.AsError(err); refusal != nil {
		return h.refuse(r, request, refusal)
	}
	if err != nil {
		return nil, err
	}
	return h.begin(r, checked)
}

// maxQuery limits an authorization request that was sent by POST, in bytes of its
// query.
const maxQuery = 8 << 10

// authorizeByPost redirects the browser to the same request by GET (OpenID Connect
// Core §3.1.2.1 requires both methods): with a form from another site the browser
// sends no cookies (SameSite=Lax), but with a navigation it does.
func (h *Handler) authorizeByPost(r *http.Request) (*endpoint.Response, error) {
	r.Body = http.MaxBytesReader(nil, r.Body, endpoint.MaxBody)
	if err := r.ParseForm(); err != nil {
		return nil, deviceauth.NewError("unknown_client", "the form cannot be read")
	}
	query := r.PostForm.Encode() // only of the body
	if len(query) > maxQuery {
		return nil, deviceauth.NewError("unknown_client", "the form is too large for an address")
	}
	return endpoint.Redirect(h.cfg.Authorize + "?" + query), nil
}

// codeRequestOf returns the authorization request of a query.
func codeRequestOf(query url.Values) deviceauth.CodeRequest {
	return deviceauth.CodeRequest{
		ClientID: query.Get("client_id"), RedirectURI: query.Get("redirect_uri"), State: query.Get("state"),
		ResponseType: query.Get("response_type"), ResponseMode: query.Get("response_mode"),
		Scope: query.Get("scope"), Resource: append(query["resource"], query["audience"]...),
		Challenge: query.Get("code_challenge"), ChallengeMethod: query.Get("code_challenge_method"),
		Nonce: query.Get("nonce"), Prompt: prompts(query.Get("prompt")), MaxAge: query.Get("max_age"),
		Label: query.Get("device_name"),
	}
}

// checkRedirect returns an error if the redirect URI cannot be used, and logs the
// request for the operator.
func (h *Handler) checkRedirect(r *http.Request, query url.Values, request deviceauth.CodeRequest) error {
	// With two values a proxy or a library in front of this server may have used the
	// other one.
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

// withoutEmpty removes parameters without a value, which count as omitted (RFC 6749
// §3.1).
func withoutEmpty(query url.Values) url.Values {
	for name, values := range query {
		query[name] = slices.DeleteFunc(values, func(value string) bool { return value == "" })
	}
	return query
}

// checkParameters refuses requests that are invalid regardless of their contents. A
// request object could differ from the parameters that were checked (OpenID Connect
// Core §6).
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

// prompts returns the values of prompt that have a meaning here; the others would
// only fill a cookie.
func prompts(asked string) string {
	known := []string{promptNone, promptLogin, promptConsent, promptSelectAccount}
	return strings.Join(slices.DeleteFunc(strings.Fields(asked), func(value string) bool {
		return !slices.Contains(known, value)
	}), " ")
}

// repeated returns the name of a repeated parameter. RFC 6749 §3.1 forbids these, and
// RFC 8707 §2 makes an exception for resource.
func repeated(query url.Values) string {
	// If there are several, any of them may be named.
	for name, values := range query {
		if len(values) > 1 && name != "resource" && name != "audience" {
			return deviceauth.Quotable(name)
		}
	}
	return ""
}

// checkPrompt refuses a request with prompt=none, which would need a page.
func checkPrompt(request deviceauth.CodeRequest, s *deviceauth.Session) error {
	switch {
	case !request.Prompts(promptNone):
		return nil
	case request.Prompt != promptNone:
		return deviceauth.NewError("invalid_request", "prompt: none stands alone")
	case s == nil:
		return deviceauth.NewError("login_required", "nobody is signed in here in this browser")
	case request.WantsSignIn(s.Person, time.Now()):
		return deviceauth.NewError("login_required", "the sign-in is older than max_age")
	}
	return deviceauth.NewError("consent_required", "the person is always asked")
}

// begin stores the request in the browser, and redirects to the question, or to the
// choice of an account.
func (h *Handler) begin(r *http.Request, request deviceauth.CodeRequest) (*endpoint.Response, error) {
	// Without a session, the question redirects to the sign-in.
	next := "/confirm"
	if request.Prompts(promptSelectAccount) {
		next = "/sign-in?switch=1"
		request.Prompt = strings.TrimSpace(strings.ReplaceAll(request.Prompt, promptSelectAccount, "")) // once
	}
	f := h.flow(r).anew()
	// A new browser gets an id, to which the sealed flow in the URL is bound.
	f.ID, f.Request = cmp.Or(f.ID, rand.Text()), &request
	cookies, err := h.sealFlowCookie(r, f)
	if err != nil {
		return nil, err
	}
	page, err := h.redirectWithFlow(next, f)
	if err != nil {
		return nil, err
	}
	return page.AddCookies(cookies...), nil
}

// redirectWithFlow redirects to a page for a flow. A flow with an authorization request is in the
// URL, because two programs may send requests simultaneously, and there is only one
// cookie.
func (h *Handler) redirectWithFlow(page string, f flow) (*endpoint.Response, error) {
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

// refuse redirects the browser to the program with an error (RFC 6749 §4.1.2.1). If
// the client is unchecked and not a native app on this computer, a page with a link
// is shown instead: anyone can register a client, and could use this server as an
// open redirector (RFC 9700 §4.11.2).
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

// back returns the URL of the authorization response: the registered redirect URI
// with the response and the issuer, with which a client of several servers detects a
// mix-up (RFC 9207 §2).
func (h *Handler) back(request deviceauth.CodeRequest, answer url.Values) string {
	// An empty state counts as omitted, and is not returned.
	if request.State != "" {
		answer.Set("state", request.State)
	}
	answer.Set("iss", h.cfg.Engine.Issuer())
	separator := "?"
	// The registered query is kept (RFC 6749 §3.1.2).
	if strings.Contains(request.RedirectURI, "?") {
		separator = "&"
	}
	return request.RedirectURI + separator + answer.Encode()
}
