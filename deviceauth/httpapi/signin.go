package httpapi

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// choice is one way to sign in.
type choice struct {
	Label, Address string
	Down           bool // it cannot be reached
}

// signInView offers the upstreams. With a single one it goes on by itself, by
// a refresh and not by a redirect: Chrome applies a form's form-action to
// every redirect after it, and the upstream is none of ours.
type signInView struct {
	Choices   []choice
	Automatic bool
	Devices   bool   // to see the person's devices
	Fresh     string // the device that asks for a new sign-in
	Moved     bool   // the browser is in another network than at the sign-in
}

// signInPage offers the upstreams, or goes to one.
func (h *Handler) signInPage(r *http.Request) (*answer, error) {
	query := r.URL.Query()
	if query.Has("with") {
		return h.signIn(r, query.Get("with"), query.Has("switch"), query.Has("fresh"))
	}
	v := signInView{
		Choices: h.choices(r.Context(), query.Has("switch"), false), Devices: h.flow(r).Next == nextConnections,
		Automatic: len(h.cfg.Upstreams) == 1 && !query.Has("switch"),
	}
	return h.page(r, http.StatusOK, "sign-in", text("sign_in.title"), v)
}

// freshSignIn explains why a person who is signed in has to do it again.
func (h *Handler) freshSignIn(r *http.Request, device string) (*answer, error) {
	v := signInView{Choices: h.choices(r.Context(), false, true), Fresh: device}
	return h.page(r, http.StatusOK, "sign-in", text("sign_in.fresh_title"), v)
}

// movedSignIn explains why a person has to sign in again: a session that was
// taken to another network decides nothing there. The flow is what they go on
// with: what their page was about, whatever other tabs have brought since.
func (h *Handler) movedSignIn(r *http.Request, s *deviceauth.Session, f flow) (*answer, error) {
	h.cfg.Engine.DecisionRefused(s, h.cfg.ClientIP(r))
	cookies, err := h.keepFlow(r, f)
	if err != nil {
		return nil, err
	}
	v := signInView{Choices: h.choices(r.Context(), false, false), Moved: true}
	page, err := h.page(r, http.StatusForbidden, "sign-in", text("sign_in.fresh_title"), v)
	if err != nil {
		return nil, err
	}
	return page.cookies(cookies...), nil
}

// reachWait is how long the page waits for upstreams to answer that there are
// several of: the ones that do not are shown last, and can be tried.
const reachWait = 1500 * time.Millisecond

func (h *Handler) choices(ctx context.Context, other, fresh bool) []choice {
	list := make([]choice, len(h.cfg.Upstreams))
	ctx, cancel := context.WithTimeout(ctx, reachWait)
	defer cancel()
	var asked sync.WaitGroup
	for i, u := range h.cfg.Upstreams {
		q := url.Values{"with": {u.ID()}}
		if other {
			q.Set("switch", "1")
		}
		if fresh {
			q.Set("fresh", "1")
		}
		list[i] = choice{Label: u.Label(), Address: h.cfg.Paths.Device + "/sign-in?" + q.Encode()}
		if len(list) > 1 {
			asked.Go(func() { list[i].Down = u.Reachable(ctx) != nil })
		}
	}
	asked.Wait()
	return list
}

func (h *Handler) upstream(id string) deviceauth.Upstream {
	for _, u := range h.cfg.Upstreams {
		if u.ID() == id {
			return u
		}
	}
	return nil
}

// An attempt is a sign-in under way. It is kept under a name of its own, so
// that two tabs do not take each other's away, and with the code that was typed
// for it: what becomes of the flow meanwhile, in another tab, is no concern of it.
type attempt struct {
	deviceauth.Attempt
	Upstream string `json:"upstream"`
	Flow     flow   `json:"flow"`
}

// maxAttempts bounds the sign-ins that a browser has under way. Every site can
// begin some in it, and a browser that keeps too many cookies loses others.
const maxAttempts = 5

// attemptCookie names the cookie of a sign-in by its state.
func attemptCookie(state string) string {
	sum := sha256.Sum256([]byte(state))
	return signInCookie + base64.RawURLEncoding.EncodeToString(sum[:6])
}

// callbackPath is where an upstream sends the browser back. Where there are
// several, each has a path of its own: else one of them could have people bring
// it the code, and with the code the PKCE verifier, of another (RFC 9700 §4.4.2.2).
func (h *Handler) callbackPath(id string) string {
	path := h.cfg.Paths.Device + "/callback"
	if len(h.cfg.Upstreams) > 1 {
		path += "/" + id
	}
	return path
}

// RedirectURI returns the redirect URI that is to be registered at an upstream.
func (h *Handler) RedirectURI(id string) string { return h.origin + h.callbackPath(id) }

// callbacks are the paths at which an answer may arrive: also those of sign-ins
// that were begun when there were more upstreams, or fewer. Which one it has to be
// stands in the attempt.
func (h *Handler) callbacks() []string {
	paths := []string{h.cfg.Paths.Device + "/callback"}
	for _, u := range h.cfg.Upstreams {
		paths = append(paths, h.cfg.Paths.Device+"/callback/"+u.ID())
	}
	return paths
}

// signIn begins a sign-in at an upstream.
func (h *Handler) signIn(r *http.Request, id string, other, fresh bool) (*answer, error) {
	u := h.upstream(id)
	if u == nil {
		return nil, errNoUpstream
	}
	f := h.flow(r)
	code, _ := deviceauth.ParseUserCode(f.Code)
	return h.ask(r, u, attempt{deviceauth.Attempt{Switch: other, Fresh: fresh, Code: code}, id, f})
}

// ask sends the browser to an upstream (OpenID Connect Core §3.1.2.1), with
// values that are this attempt's alone. One that was made already is begun anew.
func (h *Handler) ask(r *http.Request, u deviceauth.Upstream, a attempt) (*answer, error) {
	tooOld := h.attempts(r, a.State, maxAttempts-1)
	a.State, a.Nonce, a.Verifier = rand.Text(), rand.Text(), rand.Text()+rand.Text()
	a.RedirectURI, a.Began = h.RedirectURI(u.ID()), time.Now().UTC().Round(0)
	to, err := u.Begin(r.Context(), a.Attempt)
	if err != nil {
		return nil, &unavailable{u.Label(), err}
	}
	current := h.flow(r)
	current.ID = cmp.Or(current.ID, rand.Text())
	a.Flow.ID = current.ID
	flow, err := h.keepFlow(r, current)
	if err != nil {
		return nil, err
	}
	cookies, err := h.keep(r, attemptCookie(a.State), a, attemptLife)
	if err != nil {
		return nil, err
	}
	return redirect(to).cookies(tooOld...).cookies(flow...).cookies(cookies...), nil
}

// attempts drops all but the latest sign-ins that the browser has under way, of
// which one, by its state, is over anyway.
func (h *Handler) attempts(r *http.Request, over string, keep int) (dropped []*http.Cookie) {
	began := map[string]time.Time{}
	for _, c := range r.Cookies() {
		name, found := strings.CutPrefix(c.Name, h.cookieName(signInCookie))
		if name = signInCookie + name; !found || name == attemptCookie(over) {
			continue
		}
		var a attempt
		if h.kept(r, name, &a) {
			began[name] = a.Began
		} else {
			began[name] = time.Time{} // nothing opens it: the oldest
		}
	}
	names := slices.SortedFunc(maps.Keys(began), func(a, b string) int { return began[a].Compare(began[b]) })
	for _, name := range names[:max(0, len(names)-keep)] {
		dropped = append(dropped, h.drop(r, name, 0)...)
	}
	return dropped
}

// callback is where an upstream sends the browser back. Only the browser that
// began the sign-in has its cookie, and only until it was used. That it is this
// browser is told by the flow, whose cookie no neighbouring host can set.
func (h *Handler) callback(r *http.Request) (*answer, error) {
	query := r.URL.Query()
	var a attempt
	name := attemptCookie(query.Get("state"))
	if !h.kept(r, name, &a) || a.State != query.Get("state") || time.Since(a.Began) > attemptLife || a.Flow.ID != h.flow(r).ID {
		return nil, errStaleSignIn
	}
	u := h.upstream(a.Upstream)
	if u == nil {
		return nil, errNoUpstream
	}
	person, err := h.personOf(r, u, a.Attempt)
	used := h.drop(r, name, 0)
	var again *deviceauth.AskAgain
	if errors.As(err, &again) && a.Prompt == "" { // once: two that disagree must not go round in circles
		a.Prompt, a.Hint = again.Prompt, again.Hint
		asked, err := h.ask(r, u, a)
		if err != nil {
			return nil, err
		}
		return asked.cookies(used...), nil
	}
	if refusal := deviceauth.Refused(err); refusal != nil {
		page, err := h.refusedSignIn(r, u.ID(), refusal, err)
		if err != nil {
			return nil, err
		}
		return page.cookies(used...), nil
	}
	if err != nil {
		return nil, &unavailable{u.Label(), err}
	}
	if left := person.Claims.LeftOut(); len(left) > 0 { // once for each sign-in, and not for each request
		h.cfg.Log.WarnContext(r.Context(), "backends are not told all values of some claims: they have a comma, a space at an end, or a character that cannot be seen",
			"upstream", u.ID(), "subject", person.Subject, "claims", left)
	}
	cookies, err := h.begin(r, person)
	if err != nil {
		return nil, err
	}
	next := h.afterSignIn(a.Flow)
	a.Flow.Next = ""                   // it is for this sign-in
	flow, err := h.keepFlow(r, a.Flow) // another tab, or another site, may have brought another code since
	if err != nil {
		return nil, err
	}
	return redirect(next).cookies(used...).cookies(flow...).cookies(cookies...), nil
}

// refusedSignIn is the page of a sign-in that came to nothing.
func (h *Handler) refusedSignIn(r *http.Request, upstream string, refusal *deviceauth.Refusal, err error) (*answer, error) {
	h.log(r, logKind{slog.LevelWarn, "sign-in refused", "upstream", upstream, refusal.Code}, err)
	h.cfg.Engine.SignInRefused(upstream, h.cfg.ClientIP(r), refusal)
	return h.refused(r, refusal)
}

// afterSignIn is where a person goes on.
func (h *Handler) afterSignIn(f flow) string {
	switch {
	case f.Next == nextConnections:
		return h.cfg.Paths.Device + "/connections"
	case f.Posted:
		return h.cfg.Paths.Device + "/confirm"
	}
	return h.cfg.Paths.Device
}

// personOf has the upstream say who came back. An answer at another path than the
// attempt's is another upstream's (RFC 9700 §4.4.2.2), and its code is told nobody.
func (h *Handler) personOf(r *http.Request, u deviceauth.Upstream, a deviceauth.Attempt) (*deviceauth.Person, error) {
	if h.origin+r.URL.Path != a.RedirectURI {
		return nil, errMixedUp
	}
	person, err := u.Finish(r.Context(), a, r.URL.Query())
	if err == nil && !person.Clean() { // whatever upstream that is
		err = errUnclean
	}
	return person, err
}

// signOut ends the session; whoever wants to use another account goes on to the
// sign-in.
func (h *Handler) signOut(r *http.Request) (*answer, error) {
	if err := h.form(r); err != nil {
		return nil, err
	}
	var id string
	var t ticket
	if !h.kept(r, sessionCookie, &id) || !h.seal.open(ticketField, r.PostFormValue(ticketField), &t) || t.Session != id {
		return nil, errStale
	}
	gone := h.drop(r, sessionCookie, 0)
	if err := h.cfg.Engine.EndSession(r.Context(), id); err != nil {
		// The browser forgets the session in any case: the next person at it may be another one.
		r = r.Clone(r.Context())
		r.Header.Del("Cookie")
		return h.pageError(r, err).cookies(gone...), nil
	}
	next := "/signed-out"
	if r.PostFormValue("then") == "switch" {
		next = "/sign-in?switch=1"
	}
	return redirect(h.cfg.Paths.Device + next).cookies(gone...), nil
}

// signedOutPage says that nobody is signed in any more.
func (h *Handler) signedOutPage(r *http.Request) (*answer, error) { return h.problem(r, "left") }
