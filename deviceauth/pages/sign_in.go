package pages

import (
	"cmp"
	"context"
	"crypto/rand"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/endpoint"
)

// A choice is a link to sign in at an upstream.
type choice struct {
	Label, Address string
	Down           bool // it cannot be reached
}

// signInView is the choice of an upstream. If there is only one the page continues
// automatically, with a refresh instead of a redirect: Chrome applies form-action to
// every redirect after a form, and the upstream is another site.
type signInView struct {
	Choices   []choice
	Automatic bool
	Devices   bool   // to see the person's devices
	Program   bool   // for a program in this browser
	Fresh     string // the device that requires a new sign-in
	Moved     bool   // the browser is in another network than at the sign-in
}

// signInPage shows the upstreams, or redirects to one.
func (h *Handler) signInPage(r *http.Request) (*endpoint.Response, error) {
	query, f := r.URL.Query(), h.flowShown(r)
	// A link from another site starts no sign-in, see [sentByOtherSite].
	if query.Has("with") && !sentByOtherSite(r) {
		return h.signIn(r, query.Get("with"), query.Has("switch"), query.Has("fresh"))
	}
	choices, err := h.choices(r.Context(), f, query.Has("switch"), false)
	if err != nil {
		return nil, err
	}
	v := signInView{
		Choices: choices, Devices: f.Next == nextConnections, Program: f.Request != nil,
		Automatic: len(h.cfg.Upstreams) == 1 && !query.Has("switch") && !sentByOtherSite(r),
	}
	return h.page(r, http.StatusOK, "sign-in", newMessage("sign_in.title"), v)
}

// freshSignIn explains why a signed-in person must sign in again.
func (h *Handler) freshSignIn(r *http.Request, f flow, device string) (*endpoint.Response, error) {
	choices, err := h.choices(r.Context(), f, false, true)
	if err != nil {
		return nil, err
	}
	v := signInView{Choices: choices, Fresh: device}
	return h.page(r, http.StatusOK, "sign-in", newMessage("sign_in.fresh_title"), v)
}

// movedSignIn explains why a person must sign in again: a session in another network
// may not decide. f is the flow with which they continue, that of their page,
// regardless of other tabs.
func (h *Handler) movedSignIn(r *http.Request, s *deviceauth.Session, f flow) (*endpoint.Response, error) {
	h.cfg.Engine.DecisionRefused(s, h.cfg.ClientIP(r))
	// The following sign-in is bound to this browser by the flow's id.
	f.ID = cmp.Or(f.ID, rand.Text())
	cookies, err := h.sealFlowCookie(r, f)
	if err != nil {
		return nil, err
	}
	choices, err := h.choices(r.Context(), f, false, false)
	if err != nil {
		return nil, err
	}
	v := signInView{Choices: choices, Moved: true}
	page, err := h.page(r, http.StatusForbidden, "sign-in", newMessage("sign_in.fresh_title"), v)
	if err != nil {
		return nil, err
	}
	return page.AddCookies(cookies...), nil
}

// reachWait is how long the page waits for several upstreams to respond: those that
// do not are shown last, and can still be tried.
const reachWait = 1500 * time.Millisecond

// choices returns the buttons of a sign-in page for a flow.
func (h *Handler) choices(ctx context.Context, f flow, other, fresh bool) ([]choice, error) {
	about, err := h.sealFlow(f)
	if err != nil {
		return nil, err
	}
	list := make([]choice, len(h.cfg.Upstreams))
	// All upstreams are contacted concurrently; one that does not respond in time is
	// shown as down, and can still be tried.
	ctx, cancel := context.WithTimeout(ctx, reachWait)
	defer cancel()
	var asked sync.WaitGroup
	for i, u := range h.cfg.Upstreams {
		q := url.Values{"with": {u.ID()}}
		if about != "" {
			q.Set(flowField, about)
		}
		if other {
			q.Set("switch", "1")
		}
		if fresh {
			q.Set("fresh", "1")
		}
		list[i] = choice{Label: u.Label(), Address: h.cfg.Path + "/sign-in?" + q.Encode()}
		// A single one is not contacted: its page redirects there anyway, and shows
		// an error.
		if len(list) > 1 {
			asked.Go(func() { list[i].Down = u.Reachable(ctx) != nil })
		}
	}
	asked.Wait()
	return list, nil
}

// upstream returns an upstream by its id, or nil.
func (h *Handler) upstream(id string) deviceauth.Upstream {
	for _, u := range h.cfg.Upstreams {
		if u.ID() == id {
			return u
		}
	}
	return nil
}
