package pages

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/endpoint"
)

// An authRequest is a sign-in in progress. Each has its own cookie, so that two tabs
// do not replace each other's, and contains the flow for which it was started:
// changes of the flow in another tab do not affect it.
type authRequest struct {
	deviceauth.AuthRequest
	Upstream string `json:"upstream"`
	Flow     flow   `json:"flow"`
}

// maxSignIns limits the sign-ins in progress in a browser. Any site can start some,
// and a browser with too many cookies drops others.
const maxSignIns = 5

// signInCookieName returns the name of the cookie of a sign-in, by its state.
func signInCookieName(state string) string {
	sum := sha256.Sum256([]byte(state))
	return signInCookie + base64.RawURLEncoding.EncodeToString(sum[:6])
}

// callbackPath returns the path to which an upstream redirects the browser. With
// several upstreams each has its own path: otherwise one of them could obtain the
// code, and with it the PKCE verifier, of another (RFC 9700 §4.4.2.2).
func (h *Handler) callbackPath(id string) string {
	path := h.cfg.Path + "/callback"
	if len(h.cfg.Upstreams) > 1 {
		path += "/" + id
	}
	return path
}

// RedirectURI returns the redirect URI to register at an upstream.
func (h *Handler) RedirectURI(id string) string { return h.origin + h.callbackPath(id) }

// callbacks returns all paths at which a callback may arrive, including those of
// sign-ins that were started with more or fewer upstreams. The [authRequest] has the
// path that must be used.
func (h *Handler) callbacks() []string {
	paths := []string{h.cfg.Path + "/callback"}
	for _, u := range h.cfg.Upstreams {
		paths = append(paths, h.cfg.Path+"/callback/"+u.ID())
	}
	return paths
}

// signIn starts a sign-in at an upstream.
func (h *Handler) signIn(r *http.Request, id string, other, fresh bool) (*endpoint.Response, error) {
	// The URL of a button may be old: the upstream may have been removed since.
	u := h.upstream(id)
	if u == nil {
		return nil, errNoUpstream
	}
	f := h.flowShown(r)
	return h.redirectToUpstream(r, u, authRequest{
		AuthRequest: deviceauth.AuthRequest{SwitchAccount: other, FreshSignIn: fresh, Code: f.signInCode()},
		Upstream:    id, Flow: f,
	})
}

// redirectToUpstream redirects the browser to an upstream (OpenID Connect Core
// §3.1.2.1), with new random values. A sign-in that is repeated gets new ones, too.
func (h *Handler) redirectToUpstream(
	r *http.Request, u deviceauth.Upstream, a authRequest,
) (*endpoint.Response, error) {
	// One sign-in is about to be added.
	tooOld := h.dropOldSignIns(r, a.State)
	a.State, a.Nonce, a.Verifier = rand.Text(), rand.Text(), rand.Text()+rand.Text()
	a.RedirectURI, a.Began = h.RedirectURI(u.ID()), time.Now().UTC().Round(0)
	// If an upstream is unavailable a page says so, and nothing is stored.
	to, err := u.Begin(r.Context(), a.AuthRequest)
	if err != nil {
		return nil, &unavailable{label: u.Label(), err: err}
	}
	current := h.flow(r)
	current.ID = cmp.Or(current.ID, rand.Text())
	a.Flow.ID = current.ID
	flow, err := h.sealFlowCookie(r, current)
	if err != nil {
		return nil, err
	}
	cookies, err := h.sealCookie(r, signInCookieName(a.State), a, signInLife)
	if err != nil {
		return nil, err
	}
	return endpoint.Redirect(to).AddCookies(tooOld...).AddCookies(flow...).AddCookies(cookies...), nil
}

// maxSignInBytes bounds the cookies of the sign-ins in progress to which another is added.
// A web server takes some 16 KiB of headers, and a single authorization request may be a
// few KiB.
const maxSignInBytes = 5 << 10

// dropOldSignIns drops the oldest sign-ins in progress, so that there is room for one
// more. The one with the state ended is dropped in any case.
func (h *Handler) dropOldSignIns(r *http.Request, ended string) (dropped []*http.Cookie) {
	began, size := map[string]time.Time{}, map[string]int{}
	for _, c := range r.Cookies() {
		name, found := strings.CutPrefix(c.Name, h.cookieName(signInCookie))
		name, _, _ = strings.Cut(name, pieceMark)
		if name = signInCookie + name; !found || name == signInCookieName(ended) {
			continue
		}
		size[name] += len(c.Value)
		var a authRequest
		if h.openCookie(r, name, &a) {
			began[name] = a.Began
		} else {
			began[name] = time.Time{} // it cannot be opened: counts as the oldest
		}
	}
	latest := slices.SortedFunc(maps.Keys(began), func(a, b string) int { return began[b].Compare(began[a]) })
	kept, total := 0, 0
	for _, name := range latest {
		if total += size[name]; kept < maxSignIns-1 && total <= maxSignInBytes {
			kept++
			continue
		}
		dropped = append(dropped, h.dropCookie(r, name, 0)...)
	}
	return dropped
}

// callback handles the redirect from an upstream. Only the browser that started the
// sign-in has its cookie, which can be used only once. The flow's id proves that it
// is this browser, because another host of the site cannot set the flow's cookie.
func (h *Handler) callback(r *http.Request) (*endpoint.Response, error) {
	query := r.URL.Query()
	var a authRequest
	name := signInCookieName(query.Get("state"))
	known := h.openCookie(r, name, &a) && a.State == query.Get("state") && time.Since(a.Began) <= signInLife
	// State, age and browser must match: each check alone would accept the callback
	// of another sign-in (RFC 9700 §4.7.1).
	if !known || a.Flow.ID != h.flow(r).ID {
		return nil, errStaleSignIn
	}
	u := h.upstream(a.Upstream)
	if u == nil {
		return nil, errNoUpstream
	}
	person, err := h.personOf(r, u, a.AuthRequest)
	used := h.dropCookie(r, name, 0)
	var again *deviceauth.PromptError
	if errors.As(err, &again) && a.Prompt == "" { // only once, to avoid an endless loop
		a.Prompt, a.Hint = again.Prompt, again.Hint
		asked, err := h.redirectToUpstream(r, u, a)
		if err != nil {
			return nil, err
		}
		return asked.AddCookies(used...), nil
	}
	if refusal := deviceauth.AsError(err); refusal != nil {
		page, err := h.refusedSignIn(r, u.ID(), refusal, err)
		if err != nil {
			return nil, err
		}
		return page.AddCookies(used...), nil
	}
	if err != nil {
		return nil, &unavailable{label: u.Label(), err: err}
	}
	page, err := h.signedIn(r, u, person, a.Flow)
	if err != nil {
		return nil, err
	}
	return page.AddCookies(used...), nil
}

// signedIn starts the session of a person who signed in at an upstream, and redirects
// to the page that required the sign-in.
func (h *Handler) signedIn(
	r *http.Request, u deviceauth.Upstream, person *deviceauth.Person, f flow,
) (*endpoint.Response, error) {
	if left := person.Claims.LeftOut(); len(left) > 0 { // once for each sign-in, and not for each request
		h.cfg.Log.Warn(r.Context(), "backends are not told all values of some claims: "+
			"they have a comma, a space at an end, or a character that cannot be seen",
			"upstream", u.ID(), "subject", person.Subject, "claims", left)
	}
	// The browser may have had another person's session, which ends.
	cookies, err := h.beginSession(r, person)
	if err != nil {
		return nil, err
	}
	next := h.afterSignIn(f)
	f.Next, f.Redirected = "", h.flow(r).Redirected // Next is only for this sign-in
	// Another tab, or another site, may have changed the flow since.
	flow, err := h.sealFlowCookie(r, f)
	if err != nil {
		return nil, err
	}
	page, err := h.redirectWithFlow(next, f)
	if err != nil {
		return nil, err
	}
	return page.AddCookies(flow...).AddCookies(cookies...), nil
}

// refusedSignIn returns the page for a sign-in that failed.
func (h *Handler) refusedSignIn(
	r *http.Request, upstream string, refusal *deviceauth.Error, err error,
) (*endpoint.Response, error) {
	h.cfg.Log.Refused(r, "sign-in refused", upstream, refusal.Code, err)
	h.cfg.Engine.SignInRefused(upstream, h.cfg.ClientIP(r), refusal)
	return h.refused(r, refusal)
}

// afterSignIn returns the page to which a person is redirected.
func (h *Handler) afterSignIn(f flow) string {
	switch {
	case f.Next == nextConnections:
		return "/connections"
	case f.hasQuestion():
		return "/confirm"
	}
	return ""
}

// personOf returns the person for a callback. A callback at another path than the
// sign-in's is that of another upstream (RFC 9700 §4.4.2.2), and its code is not sent
// to any.
func (h *Handler) personOf(
	r *http.Request, u deviceauth.Upstream, a deviceauth.AuthRequest,
) (*deviceauth.Person, error) {
	if h.origin+r.URL.Path != a.RedirectURI {
		return nil, errMixedUp
	}
	person, err := u.Finish(r.Context(), a, r.URL.Query())
	if err == nil && !person.Clean() { // for any kind of upstream
		err = errUnclean
	}
	return person, err
}
