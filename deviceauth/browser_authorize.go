package deviceauth

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// A CodeRequest is the authorization request of a program that runs on the computer
// of its browser, or of a web application (RFC 6749 §4.1.1, RFC 7636 §4.3).
type CodeRequest struct {
	ID              ID        `json:"id"` // of the grant that a yes makes; see [Engine.CheckCodeRequest]
	ClientID        string    `json:"client"`
	RedirectURI     string    `json:"redirect"`
	State           string    `json:"state,omitempty"` // is given back as it is
	ResponseType    string    `json:"-"`               // code
	ResponseMode    string    `json:"-"`               // query, or empty
	Scope           string    `json:"scope,omitempty"`
	Resource        []string  `json:"resource,omitempty"` // values of resource (RFC 8707) and of audience
	Challenge       string    `json:"challenge"`          // code_challenge, required of every client
	ChallengeMethod string    `json:"method"`             // S256
	Nonce           string    `json:"nonce,omitempty"`    // for the ID token (OpenID Connect Core §3.1.2.1)
	Prompt          string    `json:"prompt,omitempty"`   // OpenID Connect Core §3.1.2.1
	Label           string    `json:"label,omitempty"`    // as in [AuthorizeRequest]
	Asked           time.Time `json:"asked,omitzero"`
}

const (
	codeLifetime = time.Minute // of an authorization code (RFC 6749 §4.1.2 wants ten minutes at most)
	maxState     = 1024        // bytes of state, and of nonce: a browser keeps them in a cookie
	maxResources = 1024        // bytes of all resources together, for the same reason
	maxRequest   = 2560        // bytes of state, nonce, scope and resources together

	requestLifetime = 30 * time.Minute // in which a person answers
)

// What is shown on a page of ours, and never sent at the redirect URI (RFC 6749 §4.1.2.1).
var (
	errUnknownClient   = NewError("unknown_client", "no client has this client_id")
	errUnknownRedirect = NewError("unknown_redirect", "this redirect_uri is missing, or is none of this client's")
)

// CheckRedirect says why an authorization request must be answered on a page and not at
// its redirect URI: a browser must not be sent to an address that the client has not registered.
// Refusals: unknown_client, unknown_redirect, and bad_document where the client's metadata
// document cannot be used.
func (e *Engine) CheckRedirect(ctx context.Context, clientID, uri string) error {
	_, err := e.redirectedClient(ctx, clientID, uri)
	return err
}

// redirectedClient returns the client of an authorization request.
func (e *Engine) redirectedClient(ctx context.Context, clientID, uri string) (*Client, error) {
	client, err := e.loadClient(ctx, clientID)
	refusal := AsError(err)
	switch {
	case refusal != nil:
		return nil, NewError("bad_document", refusal.Description)
	case err != nil:
		return nil, err
	case client == nil || client.ResourceServer:
		return nil, errUnknownClient
	case !client.redirectsTo(uri) || leadsTo(e.cfg.Issuer, uri):
		return nil, errUnknownRedirect
	}
	return client, nil
}

// CheckCodeRequest checks an authorization request whose redirect URI is known to be the
// client's, and returns it with an ID and with what it asks for written out. Nothing is kept:
// a grant begins with a person's yes. Its refusals go to the redirect URI (RFC 6749 §4.1.2.1):
// unsupported_response_type, invalid_request, invalid_scope, invalid_target,
// access_denied from an address that the client may not ask from, temporarily_unavailable.
func (e *Engine) CheckCodeRequest(ctx context.Context, r CodeRequest, from netip.Addr) (CodeRequest, error) {
	switch {
	case r.ResponseType == "":
		return r, NewError("invalid_request", "response_type is missing: want code")
	case r.ResponseType != "code":
		return r, NewError("unsupported_response_type", "want response_type=code")
	case r.ResponseMode != "" && r.ResponseMode != "query":
		return r, NewError("invalid_request", "response_mode: want query")
	case r.Challenge == "":
		return r, NewError("invalid_request", "code_challenge is missing: PKCE with S256 is required (RFC 7636)")
	case len(r.State) > maxState || len(r.Nonce) > maxState:
		return r, NewError("invalid_request", "state, nonce: want at most 1024 bytes each")
	case len(strings.Join(r.Resource, "")) > maxResources || len(r.Scope) > maxResources:
		return r, NewError("invalid_request", "scope, resource: want at most 1024 bytes each")
	case len(r.State)+len(r.Nonce)+len(r.Scope)+len(strings.Join(r.Resource, "")) > maxRequest:
		return r, NewError("invalid_request", "state, nonce, scope, resource: want at most 2560 bytes together")
	}
	client, err := e.redirectedClient(ctx, r.ClientID, r.RedirectURI)
	if err != nil {
		return r, err
	}
	g, err := e.grantFor(client, r)
	if err != nil {
		return r, err
	}
	if !client.reaches(e.Address(from)) {
		return r, NewError("access_denied", "this client may not ask from this address")
	}
	if err := e.Connects(ctx); err != nil {
		return r, NewError("temporarily_unavailable", "connecting programs is paused; try again later")
	}
	r.ID, r.Scope, r.Resource, r.Label, r.Asked = newID(), string(g.Scope), g.Audience, g.Label, e.now()
	return r, nil
}

// grantFor returns the grant that a request asks for, which waits for an answer and is
// not kept.
func (e *Engine) grantFor(client *Client, r CodeRequest) (g *Grant, err error) {
	g = newCodeGrant(e.now(), r)
	if g.Scope, err = client.scope(r.Scope); err != nil {
		return nil, err
	}
	if g.Audience, err = e.audience(r.Resource); err != nil {
		return nil, err
	}
	g.Challenge, err = parseChallenge(r.Challenge, r.ChallengeMethod)
	return g, err
}

// code stands for the request where a device has its user code: see [Person.Fresh].
func (r CodeRequest) code() UserCode { return UserCode(r.ID.String()) }

// SignInCode is what a new sign-in for this request is marked with, see [AuthRequest].
func (r CodeRequest) SignInCode() UserCode { return r.code() }

// Prompts reports whether the request asks for a value of prompt (OpenID Connect Core §3.1.2.1).
func (r CodeRequest) Prompts(value string) bool {
	return slices.Contains(strings.Fields(r.Prompt), value)
}

// An InspectCodeRequest is a person who is to be asked about an authorization request.
type InspectCodeRequest struct {
	Person  *Person
	Request CodeRequest
	From    netip.Addr // where the person's browser is
}

// InspectCode returns what a person is asked, as a grant that nothing keeps yet. Refusals:
// signed_out, paused, not_permitted or groups_withheld, not_fresh as [Engine.Inspect]
// has them; unknown_redirect and others, where the configuration has changed since.
func (e *Engine) InspectCode(ctx context.Context, r InspectCodeRequest) (*Grant, error) {
	r.From = e.Address(r.From)
	if err := e.checkPermitted(ctx, r.Person, ID{}, r.From); err != nil {
		return nil, err
	}
	if err := e.Connects(ctx); err != nil {
		return nil, err
	}
	client, err := e.redirectedClient(ctx, r.Request.ClientID, r.Request.RedirectURI)
	if err != nil {
		return nil, err
	}
	if e.now().Sub(r.Request.Asked) > requestLifetime {
		return nil, errDecided
	}
	g, err := e.grantFor(client, r.Request)
	if err != nil {
		return nil, err
	}
	g.From, g.Created = r.From, r.Request.Asked
	if err := e.acceptable(client, g, r.Person); err != nil {
		return g, e.barred(g, r.Person, r.From, err)
	}
	if r.Request.Prompts("login") && r.Person.Fresh != g.UserCode {
		return g, errNotFresh
	}
	return g, nil
}

// An AnswerCodeRequest is a person's yes or no to an authorization request that a page showed.
type AnswerCodeRequest struct {
	InspectCodeRequest
	Allow    bool
	Reported bool // with a denial: the person says that someone else began the login
}

// AnswerCode decides an authorization request, once. A yes returns its authorization code,
// for the redirect URI; a no returns an empty one. A yes that is said again, by two clicks or
// after a fault, is given another code in the place of the first, as long as that was not
// used. Refusals are those of [Engine.InspectCode], and decided.
func (e *Engine) AnswerCode(ctx context.Context, r AnswerCodeRequest) (Secret, *Grant, error) {
	g, err := e.InspectCode(ctx, r.InspectCodeRequest)
	if g == nil || err != nil && r.Allow {
		return "", nil, err
	}
	code := newSplitToken(g.ID)
	g.Device, g.Created = code.digest(), e.now()
	if !r.Allow {
		g.Expires = g.Created.Add(requestLifetime) // as long as its page can be posted again
	}
	err = e.keepPending(ctx, g, func() error { return e.cfg.Store.Create(ctx, g) })
	if err != nil && !errors.Is(err, ErrExists) {
		return "", nil, err
	}
	if !r.Allow {
		after, err := e.denyCode(ctx, g.ID, r)
		return "", after, err
	}
	if err != nil { // it was answered before, or a store failed in the middle of that
		after, err := e.apply(ctx, g.ID, func(g *Grant) error { return g.Reissue(e.now(), r.Person, code.digest()) })
		if errors.Is(err, ErrNotFound) {
			err = errDecided
		}
		if err != nil || after.State == Approved {
			return code.authorizationCode(), after, err
		}
	}
	after, err := e.Answer(ctx, AnswerRequest{Grant: g.ID, Allow: true, Person: r.Person, From: r.From,
		Confirmed: true})
	if err != nil {
		return "", nil, err
	}
	return code.authorizationCode(), after, nil
}

// denyCode keeps a no, so that no yes can follow it.
func (e *Engine) denyCode(ctx context.Context, id ID, r AnswerCodeRequest) (*Grant, error) {
	reason := ""
	if r.Reported {
		reason = ReasonReported
	}
	g, err := e.apply(ctx, id, func(g *Grant) error { return g.Deny(e.now(), reason) })
	if errors.Is(err, ErrNotFound) {
		err = errDecided
	}
	if err != nil {
		return nil, err
	}
	e.cfg.PollState.pending.release(id)
	e.by(EventDenied, g, r.Person, r.From)
	return g, nil
}
