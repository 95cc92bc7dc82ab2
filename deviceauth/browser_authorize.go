package deviceauth

import (
	"context"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// A CodeRequest is the authorization request of a native app on the computer of the
// browser, or of a web application (RFC 6749 §4.1.1, RFC 7636 §4.3).
type CodeRequest struct {
	ID              ID        `json:"id"` // of the grant that an approval creates; see [Engine.CheckCodeRequest]
	ClientID        string    `json:"client"`
	RedirectURI     string    `json:"redirect"`
	State           string    `json:"state,omitempty"` // returned unchanged
	ResponseType    string    `json:"-"`               // code
	ResponseMode    string    `json:"-"`               // query, or empty
	Scope           string    `json:"scope,omitempty"`
	Resource        []string  `json:"resource,omitempty"` // values of resource (RFC 8707) and of audience
	Challenge       string    `json:"challenge"`          // code_challenge, required of every client
	ChallengeMethod string    `json:"method"`             // S256
	Nonce           string    `json:"nonce,omitempty"`    // for the ID token (OpenID Connect Core §3.1.2.1)
	Prompt          string    `json:"prompt,omitempty"`   // OpenID Connect Core §3.1.2.1
	MaxAge          string    `json:"max_age,omitempty"`  // of the sign-in, in seconds; empty: any
	Label           string    `json:"label,omitempty"`    // as in [AuthorizeRequest]
	Asked           time.Time `json:"asked,omitzero"`
}

const (
	codeLifetime = time.Minute // of an authorization code (RFC 6749 §4.1.2: at most ten minutes)
	maxState     = 1024        // bytes of state, and of nonce: they are kept in a cookie
	maxResources = 1024        // bytes of all resources together, for the same reason
	maxRequest   = 2560        // bytes of state, nonce, scope and resources together

	requestLifetime = 30 * time.Minute // for the person's answer
)

// Errors that are shown on our own page and never sent to the redirect URI (RFC 6749
// §4.1.2.1).
var (
	errUnknownClient   = NewError("unknown_client", "no client has this client_id")
	errUnknownRedirect = NewError("unknown_redirect", "this redirect_uri is missing, or is none of this client's")
)

// CheckRedirect returns an error if an authorization request must be answered on a
// page and not at its redirect URI: a browser must not be sent to an address that the
// client has not registered. Refusals: unknown_client, unknown_redirect, and
// bad_document if the client's metadata document cannot be used. Any other error is a
// fault, such as a [DocumentFault].
func (e *Engine) CheckRedirect(ctx context.Context, clientID, uri string) error {
	_, err := e.redirectedClient(ctx, clientID, uri)
	return err
}

// redirectedClient returns the client of an authorization request, after the checks
// of CheckRedirect.
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

// CheckCodeRequest checks an authorization request whose redirect URI has been
// checked. It returns the request with an ID, and with its scope and audience filled
// in. Nothing is stored: the grant is created when the person approves. Its refusals
// are sent to the redirect URI (RFC 6749 §4.1.2.1): unsupported_response_type,
// invalid_request, invalid_scope, invalid_target, access_denied from an address
// outside the client's networks, temporarily_unavailable.
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
	case r.MaxAge != "" && !isSeconds(r.MaxAge):
		return r, NewError("invalid_request", "max_age: want a number of seconds")
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
	if !client.allowsAddress(e.Address(from)) {
		return r, NewError("access_denied", "this client may not ask from this address")
	}
	if err := e.Connects(ctx); err != nil {
		return r, NewError("temporarily_unavailable", "connecting programs is paused; try again later")
	}
	r.ID, r.Scope, r.Resource, r.Label, r.Asked = newID(), string(g.Scope), g.Audience, g.Label, e.now()
	return r, nil
}

// grantFor returns the pending grant that a request asks for. It is not stored.
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

// newCodeGrant returns a new pending grant for an authorization request. It uses its
// id as the user code, which is unique and never typed.
func newCodeGrant(now time.Time, r CodeRequest) *Grant {
	return &Grant{
		ID: r.ID, State: Pending, ClientID: r.ClientID, Created: now, Expires: now.Add(codeLifetime),
		UserCode: r.code(), Redirect: r.RedirectURI, Nonce: r.Nonce, Label: text.CleanName(r.Label),
	}
}

// code takes the place of a device's user code in [Person.Fresh].
func (r CodeRequest) code() UserCode { return UserCode(r.ID.String()) }

// SignInCode returns the value of [AuthRequest.Code] in a sign-in for this request.
func (r CodeRequest) SignInCode() UserCode { return r.code() }

// Prompts reports whether prompt has a certain value (OpenID Connect Core §3.1.2.1).
func (r CodeRequest) Prompts(value string) bool {
	return slices.Contains(strings.Fields(r.Prompt), value)
}

// WantsSignIn reports whether the client asks for a new sign-in: in any case, or because
// the person signed in longer ago than max_age. p is nil if no person is signed in. If
// the upstream did not say when the person signed in, the sign-in counts as recent,
// unless max_age is 0.
func (r CodeRequest) WantsSignIn(p *Person, now time.Time) bool {
	seconds, err := strconv.ParseUint(r.MaxAge, 10, 32)
	switch {
	case r.Prompts("login"):
		return true
	case err != nil: // no max_age
		return false
	case seconds == 0:
		return true
	}
	return p != nil && !p.AuthTime.IsZero() && now.Sub(p.AuthTime) > time.Duration(seconds)*time.Second
}

func isSeconds(text string) bool {
	_, err := strconv.ParseUint(text, 10, 32)
	return err == nil
}

// An InspectCodeRequest asks what to show to a person about an authorization request.
type InspectCodeRequest struct {
	Person  *Person
	Request CodeRequest
	From    netip.Addr // the address of the person's browser
}

// InspectCode returns what the person is asked to approve, as a grant that is not
// stored yet. Refusals: signed_out, paused, not_permitted or groups_withheld, and
// not_fresh as for [Engine.Inspect]; unknown_redirect and others if the configuration
// has changed since.
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
		return g, e.reportBarred(g, r.Person, r.From, err)
	}
	if r.Request.WantsSignIn(r.Person, e.now()) && r.Person.Fresh != g.UserCode {
		return g, errNotFresh
	}
	return g, nil
}
