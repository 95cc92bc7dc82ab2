package pages

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/endpoint"
)

// Errors for people. The pages have texts for their codes in all languages.
var (
	errForeign     = deviceauth.NewError("foreign", "a form from another site")
	errStale       = deviceauth.NewError("stale", "a form without this session's ticket")
	errStaleSignIn = deviceauth.NewError("stale_sign_in", "a callback to no sign-in of this browser")
	errUnclean     = deviceauth.NewError("sign_in_unclean", "user")
	errMixedUp     = deviceauth.NewError("sign_in_untrusted", "the answer came to the redirect URI of another upstream")
	errNoUpstream  = deviceauth.NewError("no_upstream", "no upstream has this id")
)

// unavailable is the error of an upstream that cannot be reached. It is temporary,
// unless err is a [deviceauth.ConfigError].
type unavailable struct {
	label string
	err   error
}

func (u *unavailable) Error() string { return "sign-in at " + u.label + ": " + u.err.Error() }
func (u *unavailable) Unwrap() error { return u.err }

// problemView is a page that explains a problem, with a link to continue.
type problemView struct {
	Text    string // in the page's language
	Way     string // key of the button
	Address string
	Ask     bool // the brand's contact is shown, because the operator can help
}

// A notice is the status of a problem's page, and its link.
type notice struct {
	status    int
	way, path string
	quotes    bool // the text includes the refusal's description
}

// notices are the problems that have texts, by code.
var notices = map[string]notice{
	"unknown_code":       {status: http.StatusNotFound, way: "way.code"},
	"left":               {status: http.StatusOK, way: "way.sign_in", path: "/sign-in"},
	"not_permitted":      {status: http.StatusForbidden, way: "way.account", path: "/sign-in?switch=1"},
	"not_permitted_as":   {status: http.StatusForbidden, way: "way.account", path: "/sign-in?switch=1"},
	"groups_withheld":    {status: http.StatusForbidden, way: "way.account", path: "/sign-in?switch=1"},
	"groups_withheld_as": {status: http.StatusForbidden, way: "way.account", path: "/sign-in?switch=1"},
	"decided":            {status: http.StatusConflict, way: "way.code"},
	"other_network":      {status: http.StatusForbidden, way: "way.code"},
	"paused":             {status: http.StatusServiceUnavailable, way: "way.devices", path: "/connections"},
	"not_connected":      {status: http.StatusNotFound, way: "way.devices", path: "/connections"},
	"unknown_client":     {status: http.StatusBadRequest}, // no link: the program must start again
	"unknown_redirect":   {status: http.StatusBadRequest},
	"bad_document":       {status: http.StatusBadRequest, quotes: true},

	"foreign":            {status: http.StatusForbidden, way: "way.code"},
	"stale":              {status: http.StatusForbidden, way: "way.again"},
	"stale_sign_in":      {status: http.StatusBadRequest, way: "way.sign_in", path: "/sign-in"},
	"no_upstream":        {status: http.StatusNotFound, way: "way.sign_in", path: "/sign-in"},
	"signed_out":         {status: http.StatusForbidden, way: "way.sign_in", path: "/sign-in"},
	"sign_in_cancelled":  {status: http.StatusForbidden, way: "way.sign_in", path: "/sign-in"},
	"sign_in_error":      {status: http.StatusForbidden, way: "way.sign_in", path: "/sign-in", quotes: true},
	"sign_in_stale":      {status: http.StatusForbidden, way: "way.sign_in", path: "/sign-in"},
	"sign_in_untrusted":  {status: http.StatusForbidden, way: "way.sign_in", path: "/sign-in"},
	"sign_in_nameless":   {status: http.StatusForbidden, way: "way.account", path: "/sign-in?switch=1", quotes: true},
	"sign_in_unclean":    {status: http.StatusForbidden, way: "way.account", path: "/sign-in?switch=1", quotes: true},
	"sign_in_unverified": {status: http.StatusForbidden, way: "way.account", path: "/sign-in?switch=1"},
	"sign_in_not_fresh":  {status: http.StatusForbidden, way: "way.again", path: "/confirm"},
	"sign_in_no_refresh": {status: http.StatusForbidden, way: "way.again", path: "/sign-in"},
	// Signing in again would lead back here: the link is for another device.
	"sign_in_no_auth_time": {status: http.StatusForbidden, way: "way.code"},
	"too_many_guesses":     {status: http.StatusTooManyRequests}, // no link helps before the time is over
	"unavailable":          {status: http.StatusServiceUnavailable, way: "way.again", path: "/sign-in"},
	"misconfigured":        {status: http.StatusServiceUnavailable, way: "way.sign_in", path: "/sign-in?switch=1"},
	"fault":                {status: http.StatusServiceUnavailable, way: "way.again"},
}

// operatorHelps are the problems that the operator can solve.
var operatorHelps = map[string]bool{
	"not_permitted": true, "not_permitted_as": true, "groups_withheld": true, "groups_withheld_as": true,
	"unknown_client": true, "unknown_redirect": true, "bad_document": true, "other_network": true, "fault": true,
	"misconfigured": true,
	"sign_in_error": true, "sign_in_untrusted": true, "sign_in_nameless": true, "sign_in_unclean": true,
	"sign_in_unverified": true, "sign_in_no_refresh": true, "sign_in_no_auth_time": true,
}

// problem returns the page of a problem, by code.
func (h *Handler) problem(r *http.Request, code string, args ...any) (*endpoint.Response, error) {
	// A test checks that all codes have texts.
	n := notices[code]
	v := problemView{
		Text: h.renderer.languages.forRequest(r).say(code+".text", args...),
		Way:  n.way, Address: h.cfg.Path + n.path, Ask: operatorHelps[code],
	}
	// The page tells the person that they are signed out, so it must not show their
	// name.
	if code == "signed_out" { // at the upstream: the session still exists here
		return h.renderer.render(r, n.status, "problem", newMessage(code+".title"), v, account{})
	}
	return h.page(r, n.status, "problem", newMessage(code+".title"), v)
}

// ErrorPage returns the page for an error. It is the only place where faults of pages
// are logged.
func (h *Handler) ErrorPage(r *http.Request, err error) *endpoint.Response {
	a, renderErr := h.explain(r, err)
	// If even that page cannot be rendered, the person gets plain text instead of an
	// empty window.
	if renderErr != nil {
		h.cfg.Log.Fault(r, "", renderErr)
		body := []byte("Something went wrong here. Please try again.\n")
		a = endpoint.NewResponse(http.StatusServiceUnavailable, "text/plain; charset=utf-8", body)
		a.Set("Retry-After", endpoint.RetryAfter)
	}
	return a
}

// explain returns the page for an error: too many attempts, a refusal, an upstream
// that is unavailable or misconfigured, or a fault of the server.
func (h *Handler) explain(r *http.Request, err error) (*endpoint.Response, error) {
	var throttled *deviceauth.RateLimitError
	// Before refusals, since a RateLimitError wraps one.
	if errors.As(err, &throttled) {
		return h.throttled(r, throttled.RetryAfter)
	}
	if refusal := deviceauth.AsError(err); refusal != nil {
		return h.refused(r, refusal)
	}
	if fault, ok := errors.AsType[*deviceauth.DocumentFault](err); ok {
		return h.documentUnavailable(r, fault)
	}
	var down *unavailable
	var wrong *deviceauth.ConfigError
	atUpstream := errors.As(err, &down)
	label := ""
	if atUpstream {
		label = down.label
	}
	h.cfg.Log.Fault(r, label, err)
	switch {
	case atUpstream && errors.As(err, &wrong): // no Retry-After: a retry does not help
		return h.problem(r, "misconfigured", down.label)
	case atUpstream:
		return h.later(r, "unavailable", down.label)
	}
	return h.later(r, "fault")
}

// documentUnavailable returns the page for a client whose metadata document cannot be
// fetched now. It says why, for the developer of the client, because it is not a fault of
// this server.
func (h *Handler) documentUnavailable(r *http.Request, fault *deviceauth.DocumentFault) (*endpoint.Response, error) {
	h.cfg.Log.Refused(r, "the metadata document of a client cannot be fetched", "", "document_away", fault)
	a, err := h.later(r, "bad_document", fault.Error())
	if err != nil {
		return nil, err
	}
	a.Status = http.StatusServiceUnavailable
	return a, nil
}

// later returns the page of a temporary problem.
func (h *Handler) later(r *http.Request, code string, args ...any) (*endpoint.Response, error) {
	a, err := h.problem(r, code, args...)
	if err != nil {
		return nil, err
	}
	return a.Set("Retry-After", endpoint.RetryAfter), nil
}

// refused returns the page for a refusal. If the person signed out at the upstream,
// the session cookie is deleted.
func (h *Handler) refused(r *http.Request, refusal *deviceauth.Error) (*endpoint.Response, error) {
	code := refusal.Code
	// A refusal that is only for programs has no text; it means that the page is
	// outdated.
	if _, known := notices[code]; !known {
		code = "stale"
	}
	var args []any
	if notices[code].quotes {
		args = []any{refusal.Description}
	}
	// A person with two accounts must know which one was refused.
	if _, named := notices[code+"_as"]; named { // there is a text with the account's name
		if s, err := h.session(r); err == nil && s != nil {
			code, args = code+"_as", []any{s.Person.Name()}
		}
	}
	a, err := h.problem(r, code, args...)
	if err != nil {
		return nil, err
	}
	switch code {
	case "signed_out":
		a.AddCookies(h.dropCookie(r, sessionCookie, 0)...)
	case "paused":
		a.Set("Retry-After", endpoint.RetryPaused())
	}
	return a, nil
}

// throttled returns the page with the waiting time.
func (h *Handler) throttled(r *http.Request, wait time.Duration) (*endpoint.Response, error) {
	a, err := h.problem(r, "too_many_guesses", int((wait+time.Minute-1)/time.Minute))
	if err != nil {
		return nil, err
	}
	return a.Set("Retry-After", strconv.Itoa(endpoint.Seconds(wait))), nil
}
