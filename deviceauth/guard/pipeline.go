package guard

import (
	"net/http"
	"strings"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// A Pipeline processes a request for a guard. It alone determines the order of the
// steps: [Guard.Middleware] uses a pipeline, and so does the handler of package
// caddymodule. The fields are what differs between these two. A pipeline is built
// once, together with the guard, and must not be changed afterwards.
type Pipeline struct {
	// Reserved are the headers that a client must not set.
	Reserved ReservedHeaders
	// Selects reports whether matchers or routes select requests by path or method.
	// If they do, headers that give a request another path or method for the backend
	// are stripped. nil: they are always stripped.
	Selects func() bool
	// Trusted reports whether a trusted proxy sent the request. nil: no proxy is
	// trusted.
	Trusted func(r *http.Request) bool
	// Plain refuses paths that two servers may read differently. It is for a guard
	// without Match, which sees only one of the readings.
	Plain bool
	// Describe answers a request for the metadata of the resource (RFC 9728 §3), and
	// reports whether it did. It is called for paths that contain
	// [ResourceMetadataPath].
	Describe func(w http.ResponseWriter, r *http.Request) bool
	// Match reports whether a request is guarded. A *[deviceauth.Error] refuses an
	// ambiguous request; any other error is a fault. nil: all requests are guarded.
	Match func(r *http.Request) (bool, error)
	// Guard returns the guard that decides, and a function that is called after the
	// decision: until then the store of the server must stay open.
	Guard func(r *http.Request) (decides *Guard, release func(), err error)
	// Key returns the identity of a request with an old API key, or nil if it has
	// none. A nil Key accepts no old keys.
	Key func(w http.ResponseWriter, r *http.Request) *deviceauth.Identity
	// Asked returns the request as the client sent it, for the URL in a challenge.
	// nil: the request has not been changed.
	Asked func(r *http.Request) *http.Request
	// Observe is called with the duration of a decision by token. It may be nil.
	Observe func(took time.Duration)
}

// Decide decides about a request, and prepares it for the backend if it may pass. The
// steps, in this order:
//
//  1. strip what only a guard may set, and refuse an ambiguous target (Clean);
//  2. answer a request for the metadata of the resource (Describe);
//  3. let a request pass that is not guarded (Match);
//  4. find the guard that decides, with its server (Guard);
//  5. answer a CORS preflight, or accept an old API key (Key);
//  6. check the token, and take it off the request unless KeepToken is set;
//  7. set the identity headers.
//
// known is the result of earlier guards of the
// same request; the first guard passes a new [State]. If the outcome is [Described],
// or a preflight that is Answered, Decide has written the response.
func (p *Pipeline) Decide(w http.ResponseWriter, r *http.Request, known *State) Decision {
	if err := p.Clean(r, known); err != nil {
		return Decision{Outcome: Malformed, Err: err, Guarded: true}
	}
	// Metadata is public: a client asks for it before it has a token.
	if p.Describe != nil && strings.Contains(r.URL.Path, ResourceMetadataPath) && p.Describe(w, r) {
		return Decision{Outcome: Described, Answered: true}
	}
	if p.Match != nil {
		guarded, err := p.Match(r)
		switch {
		case err != nil && deviceauth.AsError(err) != nil: // the client's mistake
			return Decision{Outcome: Malformed, Err: err, Guarded: true}
		case err != nil: // such as a placeholder that cannot be resolved
			return Decision{Outcome: Unavailable, Err: err}
		case !guarded:
			return Decision{Outcome: Unguarded}
		}
	}
	decides, release, err := p.Guard(r)
	if err != nil {
		return Decision{Outcome: Unavailable, Err: err, Guarded: true}
	}
	defer release() // before the backend responds, which may take hours
	return p.admit(decides, w, r, known)
}

// Clean strips from a request what only a guard may set: identity headers in every
// spelling, in trailers too, connection options with which a proxy would drop
// headers, and the cookies of our own pages. It refuses (400) a target that two
// servers could interpret differently. It does not repeat what an earlier guard of
// the same request has done.
func (p *Pipeline) Clean(r *http.Request, known *State) error {
	if p.Selects == nil || p.Selects() {
		p.stripOverrides(r)
	}
	p.Reserved.Strip(r, known.reserved...)
	known.reserved = append(known.reserved, p.Reserved)
	if !known.cleaned {
		known.cleaned = true
		if h := r.Header; h["Connection"] != nil || h["Upgrade"] != nil || h["Http2-Settings"] != nil {
			stripConnection(r)
		}
		if r.Header["Cookie"] != nil {
			known.Cookies = StripCookies(r.Header)
		}
		if err := CheckTarget(r); err != nil {
			return err
		}
	}
	if p.Plain {
		return CheckSpelling(r.URL)
	}
	return nil
}

// stripOverrides strips headers that give a request another path or method.
func (p *Pipeline) stripOverrides(r *http.Request) {
	StripOverrides(r, p.Trusted != nil && p.Trusted(r))
}

// admit decides by the credentials of a guarded request: first as a CORS preflight,
// which has none, then by an old API key, then by a token (RFC 6750).
func (p *Pipeline) admit(g *Guard, w http.ResponseWriter, r *http.Request, known *State) Decision {
	if r.Method == http.MethodOptions && IsPreflight(r) {
		return p.preflight(g, w, r)
	}
	d := Decision{Guarded: true, Origin: g.origin(r)}
	if p.Key != nil {
		if id := p.Key(w, r); id != nil {
			return p.admitKey(g, d, r, id, known)
		}
	}
	began := time.Now()
	id, token, err := g.authenticateToken(r, known.token)
	if p.Observe != nil {
		p.Observe(time.Since(began))
	}
	if token != "" { // kept for the guards that follow: it may have been taken off the request
		known.token = token
	}
	if err != nil {
		return p.refuse(g, d, r, err)
	}
	if id == nil {
		d.Outcome = Anonymous
		if known.Identity != nil { // set by an old key that this guard does not accept
			p.Reserved.Strip(r)
			known.Identity = nil
		}
		return d
	}
	d.Outcome, known.Identity, known.by = Admitted, id, g
	g.SetIdentityHeaders(r, id)
	return d
}

// preflight answers a CORS preflight, or leaves it to the backend. Headers must not
// turn it into another request there.
func (p *Pipeline) preflight(g *Guard, w http.ResponseWriter, r *http.Request) Decision {
	d := Decision{Guarded: true, Outcome: Preflight}
	if d.Answered = g.Preflight(w.Header(), r); d.Answered {
		w.WriteHeader(http.StatusNoContent)
		return d
	}
	p.stripOverrides(r)
	d.Origin = g.origin(r)
	return d
}

// admitKey decides by an old API key. A key that lists scopes must have all that the
// guard requires.
func (p *Pipeline) admitKey(
	g *Guard, d Decision, r *http.Request, id *deviceauth.Identity, known *State,
) Decision {
	if id.Scope != "" && !g.options.Need.Scope.Within(id.Scope) {
		return p.refuse(g, d, r, deviceauth.LacksScope(id))
	}
	d.Outcome, known.Identity, known.by = LegacyKey, id, g
	g.SetIdentityHeaders(r, id)
	return d
}

// refuse returns the decision for a request that does not pass, with or without a
// token.
func (p *Pipeline) refuse(g *Guard, d Decision, r *http.Request, err error) Decision {
	if d.Outcome, d.Err = outcomeOf(err), err; d.Outcome == Unavailable {
		return d
	}
	if p.Asked != nil {
		r = p.Asked(r)
	}
	d.Challenge = g.Refuse(r, err)
	return d
}
