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

// An authRequest is a sign-in under way. It is kept under a name of its own, so
// that two tabs do not take each other's away, and with the code that was typed
// for it: what becomes of the flow meanwhile, in another tab, is no concern of it.
type authRequest struct {
	deviceauth.AuthRequest
	Upstream string `json:"upstream"`
	Flow     flow   `json:"flow"`
}

// maxSignIns bounds the sign-ins that a browser has under way. Every site can
// begin some in it, and a browser that keeps too many cookies loses others.
const maxSignIns = 5

// signInCookieName names the cookie of a sign-in by its state.
func signInCookieName(state string) string {
	sum := sha256.Sum256([]byte(state))
	return signInCookie + base64.RawURLEncoding.EncodeToString(sum[:6])
}

// callbackPath is where an upstream sends the browser back. Where there are
// several, each has a path of its own: else one of them could have people bring
// it the code, and with the code the PKCE verifier, of another (RFC 9700 §4.4.2.2).
func (h *Handler) callbackPath(id string) string {
	path := h.cfg.Path + "/callback"
	if len(h.cfg.Upstreams) > 1 {
		path += "/" + id
	}
	return path
}

// RedirectURI returns the redirect URI that is to be registered at an upstream.
func (h *Handler) RedirectURI(id string) string { return h.origin + h.callbackPath(id) }

// callbacks are the paths at which an answer may arrive: also those of sign-ins
// that were begun when there were more upstreams, or fewer. Which one it has to be
// stands in the [authRequest].
func (h *Handler) callbacks() []string {
	paths := []string{h.cfg.Path + "/callback"}
	for _, u := range h.cfg.Upstreams {
		paths = append(paths, h.cfg.Path+"/callback/"+u.ID())
	}
	return paths
}

// signIn begins a sign-in at an upstream.
func (h *Handler) signIn(r *http.Request, id string, other, fresh bool) (*endpoint.Response, error) {
	// The address of a button may be old: an upstream may have been taken out since.
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

// redirectToUpstream sends the browser to an upstream (OpenID Connect Core §3.1.2.1), with
// values that are this sign-in's alone. One that was made already is begun anew.
func (h *Handler) redirectToUpstream(
	r *http.Request, u deviceauth.Upstream, a authRequest,
) (*endpoint.Response, error) {
	// One is about to begin, so one less than the bound may stay.
	tooOld := h.dropOldSignIns(r, a.State, maxSignIns-1)
	a.State, a.Nonce, a.Verifier = rand.Text(), rand.Text(), rand.Text()+rand.Text()
	a.RedirectURI, a.Began = h.RedirectURI(u.ID()), time.Now().UTC().Round(0)
	// An upstream that cannot be asked is told on a page, before anything is kept.
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

// dropOldSignIns drops all but the latest sign-ins that the browser has under way, of
// which one, by its state, is over anyway.
func (h *Handler) dropOldSignIns(r *http.Request, over string, keep int) (dropped []*http.Cookie) {
	began := map[string]time.Time{}
	for _, c := range r.Cookies() {
		name, found := strings.CutPrefix(c.Name, h.cookieName(signInCookie))
		if name = signInCookie + name; !found || name == signInCookieName(over) {
			continue
		}
		var a authRequest
		if h.openCookie(r, name, &a) {
			began[name] = a.Began
		} else {
			began[name] = time.Time{} // nothing opens it: the oldest
		}
	}
	names := slices.SortedFunc(maps.Keys(began), func(a, b string) int { return began[a].Compare(began[b]) })
	for _, name := range names[:max(0, len(names)-keep)] {
		dropped = append(dropped, h.dropCookie(r, name, 0)...)
	}
	return dropped
}

// callback is where an upstream sends the browser back. Only the browser that
// began the sign-in has its cookie, and only until it was used. That it is this
// browser is told by the flow, whose cookie no neighbouring host can set.
func (h *Handler) callback(r *http.Request) (*endpoint.Response, error) {
	query := r.URL.Query()
	var a authRequest
	name := signInCookieName(query.Get("state"))
	known := h.openCookie(r, name, &a) && a.State == query.Get("state") && time.Since(a.Began) <= signInLife
	// State, age and browser: each of them alone would let an answer of another sign-in in
	// (RFC 9700 §4.7.1).
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
	if errors.As(err, &again) && a.Prompt == "" { // once: two that disagree must not go round in circles
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

// signedIn begins the session of a person who returns from an upstream, and leads to what
// the sign-in was for.
func (h *Handler) signedIn(
	r *http.Request, u deviceauth.Upstream, person *deviceauth.Person, f flow,
) (*endpoint.Response, error) {
	if left := person.Claims.LeftOut(); len(left) > 0 { // once for each sign-in, and not for each request
		h.cfg.Log.Warn(r.Context(), "backends are not told all values of some claims: "+
			"they have a comma, a space at an end, or a character that cannot be seen",
			"upstream", u.ID(), "subject", person.Subject, "claims", left)
	}
	// From here on the browser is another person's: the session before ends.
	cookies, err := h.beginSession(r, person)
	if err != nil {
		return nil, err
	}
	next := h.afterSignIn(f)
	f.Next, f.Led = "", h.flow(r).Led // the first is for this sign-in
	// Another tab, or another site, may have brought another code since.
	flow, err := h.sealFlowCookie(r, f)
	if err != nil {
		return nil, err
	}
	page, err := h.goOn(next, f)
	if err != nil {
		return nil, err
	}
	return page.AddCookies(flow...).AddCookies(cookies...), nil
}

// refusedSignIn is the page of a sign-in that failed.
func (h *Handler) refusedSignIn(
	r *http.Request, upstream string, refusal *deviceauth.Error, err error,
) (*endpoint.Response, error) {
	h.cfg.Log.Refused(r, "sign-in refused", upstream, refusal.Code, err)
	h.cfg.Engine.SignInRefused(upstream, h.cfg.ClientIP(r), refusal)
	return h.refused(r, refusal)
}

// afterSignIn is the page on which a person goes on.
func (h *Handler) afterSignIn(f flow) string {
	switch {
	case f.Next == nextConnections:
		return "/connections"
	case f.hasQuestion():
		return "/confirm"
	}
	return ""
}

// personOf has the upstream say who returned. An answer at another path than the
// sign-in's is another upstream's (RFC 9700 §4.4.2.2), and its code is sent to none.
func (h *Handler) personOf(
	r *http.Request, u deviceauth.Upstream, a deviceauth.AuthRequest,
) (*deviceauth.Person, error) {
	if h.origin+r.URL.Path != a.RedirectURI {
		return nil, errMixedUp
	}
	person, err := u.Finish(r.Context(), a, r.URL.Query())
	if err == nil && !person.Clean() { // whatever upstream that is
		err = errUnclean
	}
	return person, err
}
