package httpapi

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// choice is one sign-in button.
type choice struct{ Label, Address string }

// signInView offers the upstreams. With a single one it goes on by itself, by
// a refresh and not by a redirect: Chrome applies a form's form-action to
// every redirect after it, and the upstream is none of ours.
type signInView struct {
	Choices   []choice
	Automatic bool
}

func (h *Handler) signInPage(r *http.Request) (*answer, error) {
	query := r.URL.Query()
	if query.Has("with") {
		return h.signIn(r, query.Get("with"), query.Has("switch"))
	}
	v := signInView{Automatic: len(h.cfg.Upstreams) == 1 && !query.Has("switch")}
	for _, u := range h.cfg.Upstreams {
		q := url.Values{"with": {u.ID()}}
		if query.Has("switch") {
			q.Set("switch", "1")
		}
		v.Choices = append(v.Choices, choice{u.Label(), h.cfg.Paths.Device + "/sign-in?" + q.Encode()})
	}
	return h.pages.render(http.StatusOK, "sign-in", "Sign in", v)
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
// that two tabs do not take each other's away.
type attempt struct {
	deviceauth.Attempt
	Upstream string    `json:"upstream"`
	Expires  time.Time `json:"expires"`
}

// attemptCookie names the cookie of a sign-in by its state.
func attemptCookie(state string) string {
	sum := sha256.Sum256([]byte(state))
	return "device_signin_" + base64.RawURLEncoding.EncodeToString(sum[:6])
}

// signIn sends the browser to an upstream (OpenID Connect Core §3.1.2.1).
func (h *Handler) signIn(r *http.Request, id string, other bool) (*answer, error) {
	u := h.upstream(id)
	if u == nil {
		return nil, errNoUpstream
	}
	a := attempt{
		deviceauth.Attempt{State: rand.Text(), Nonce: rand.Text(), Verifier: rand.Text() + rand.Text(), RedirectURI: h.origin + h.cfg.Paths.Device + "/callback", Switch: other},
		id, time.Now().Add(attemptLife),
	}
	to, err := u.Begin(r.Context(), a.Attempt)
	if err != nil {
		return nil, &unavailable{u.Label(), err}
	}
	cookies, err := h.keep(r, attemptCookie(a.State), a, attemptLife)
	if err != nil {
		return nil, err
	}
	return redirect(to).cookies(cookies...), nil
}

// callback is where an upstream sends the browser back. Only the browser that
// began the sign-in has its cookie, and only until it was used.
func (h *Handler) callback(r *http.Request) (*answer, error) {
	query := r.URL.Query()
	var a attempt
	name := attemptCookie(query.Get("state"))
	if !h.kept(r, name, &a) || a.State != query.Get("state") || time.Now().After(a.Expires) {
		return nil, errStaleSignIn
	}
	u := h.upstream(a.Upstream)
	if u == nil {
		return nil, errNoUpstream
	}
	person, err := u.Finish(r.Context(), a.Attempt, query)
	used := h.drop(r, name, 0)
	if refusal := deviceauth.Refused(err); refusal != nil {
		h.cfg.Log.WarnContext(r.Context(), "sign-in refused", "upstream", u.ID(), "error", err)
		page, err := h.problem(http.StatusForbidden, "You are not signed in", refusal.Description, "Try again", "/sign-in")
		return page.cookies(used...), err
	}
	if err != nil {
		return nil, &unavailable{u.Label(), err}
	}
	cookies, err := h.begin(r, person)
	if err != nil {
		return nil, err
	}
	next, f := h.cfg.Paths.Device, h.flow(r)
	switch {
	case f.Code != "":
		next += "/confirm"
	case f.Next == nextConnections:
		next += "/connections"
	}
	return redirect(next).cookies(used...).cookies(cookies...), nil
}

// signOut ends the session, for somebody who wants to use another account.
func (h *Handler) signOut(r *http.Request) (*answer, error) {
	if err := h.form(r); err != nil {
		return nil, err
	}
	if _, _, err := h.presented(r); err != nil {
		return nil, err
	}
	return redirect(h.cfg.Paths.Device + "/sign-in?switch=1").cookies(h.drop(r, sessionCookie, 0)...), nil
}
