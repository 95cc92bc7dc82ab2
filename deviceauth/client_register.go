package deviceauth

import (
	"cmp"
	"context"
	"crypto/rand"
	"net/netip"
	"strings"
	"time"
)

// registeredPrefix is the prefix of the client_id of a client that registered.
const registeredPrefix = "c_"

// A RegisterRequest is a registration request (RFC 7591 §3.1).
type RegisterRequest struct {
	Token    Secret // the initial access token; empty: none was sent
	Metadata ClientMetadata
	From     netip.Addr
	Approved bool // the operator, whose token the request has, vouches for the client
}

// A Registered is the response to a registration (RFC 7591 §3.2.1). Secret and Token
// are returned once: only their digests are stored.
type Registered struct {
	ID       string
	Secret   Secret // empty: a public client, or it was returned before
	Token    Secret // registration access token (RFC 7592); empty: it was returned before
	At       time.Time
	Metadata ClientMetadata
	Approved bool
}

// byToken names, in events, an operator who used the initial access token.
const byToken = "the holder of the registration token"

var (
	errInitialToken = NewError("invalid_token",
		"want the initial access token of this server as a Bearer token (RFC 7591)")
	errClientToken   = NewError("invalid_token", "want the registration access token of this client (RFC 7592)")
	errManyRegister  = NewError("slow_down", "too many clients register or change; try again later")
	errNoMoreClients = NewError("temporarily_unavailable", "the maximum number of clients is registered")
)

// CheckInitialToken checks the token of a registration request, where the operator
// requires one (RFC 7591 §3). Refusals: invalid_token.
func (e *Engine) CheckInitialToken(token Secret) error {
	if e.cfg.Registration.Open {
		return nil
	}
	return e.CheckManagementToken(token)
}

// CheckManagementToken checks the initial access token, even if registration is open.
// Refusals: invalid_token.
func (e *Engine) CheckManagementToken(token Secret) error {
	if want := e.cfg.Registration.Token; want == "" || !sameSecret(token, want) {
		return errInitialToken
	}
	return nil
}

// Register registers a new client. The client is stored durably before Register
// returns, and all gateways know it. Refusals: invalid_token,
// invalid_client_metadata, invalid_redirect_uri, slow_down as a [*RateLimitError],
// temporarily_unavailable.
func (e *Engine) Register(ctx context.Context, r RegisterRequest) (*Registered, error) {
	if err := e.CheckInitialToken(r.Token); err != nil {
		return nil, err
	}
	now := e.now()
	from := e.Address(r.From)
	scope, err := r.Metadata.scopes(e.cfg.Registration.Scope)
	if err := cmp.Or(err, r.Metadata.checkRedirects(e.cfg.Issuer)); err != nil {
		return nil, err
	}
	if wait := e.registering.Take(from, now); wait > 0 {
		return nil, &RateLimitError{Reason: errManyRegister, RetryAfter: wait}
	}
	r.Metadata.Scope = string(scope)
	made := &Registered{
		ID: registeredPrefix + rand.Text(), Token: Secret("rg_" + rand.Text() + rand.Text()), At: now,
		Metadata: r.Metadata, Approved: r.Approved,
	}
	record := &clientRecord{
		ID: made.ID, Metadata: r.Metadata, Token: digest([]byte(made.Token)), Registered: now,
	}
	if r.Approved {
		record.Approved = r.Metadata.shown()
	}
	if r.Metadata.AuthMethod != "none" {
		made.Secret = Secret("cs_" + rand.Text() + rand.Text())
		record.Secret = digest([]byte(made.Secret))
	}
	// The list is written first: a client that is not in it would never be removed.
	if err := e.enlist(ctx, record, now); err != nil {
		return nil, err
	}
	keep := func(*clientRecord) (*clientRecord, error) { return record, nil }
	if err := e.changeRecord(ctx, made.ID, keep); err != nil {
		return nil, err
	}
	e.emitEvent(Event{Name: EventClientRegistered, ClientID: made.ID, From: from, Reason: r.Metadata.Name})
	if r.Approved {
		e.emitEvent(Event{Name: EventClientApproved, ClientID: made.ID, From: from, By: byToken})
	}
	return made, nil
}

// checkToken checks the registration access token of a client. An unknown client and
// a wrong token are refused with the same error (RFC 7592 §2.1).
func (r *clientRecord) checkToken(token Secret) error {
	if r == nil || r.Token == (Digest{}) || !r.Token.equal(digest([]byte(token))) {
		return errClientToken
	}
	return nil
}

// ReadRegistration returns the registration of a client (RFC 7592 §2.1). Refusals:
// invalid_token.
func (e *Engine) ReadRegistration(ctx context.Context, id string, token Secret) (*Registered, error) {
	if !e.introduces(id) || e.cfg.Documents == nil {
		return nil, errClientToken
	}
	r, err := e.loadRecord(ctx, id)
	if err != nil {
		return nil, err
	}
	if err := r.checkToken(token); err != nil {
		return nil, err
	}
	return r.registered(), nil
}

func (r *clientRecord) registered() *Registered {
	return &Registered{ID: r.ID, At: r.Registered, Metadata: r.Metadata, Approved: r.vouches(r.Metadata)}
}

// ChangeRegistration replaces the metadata of a client (RFC 7592 §2.2) by that of a
// request, whose Token is the registration access token. If this changes what people
// were shown, the operator's approval ends, and the client must be checked anew.
// Refusals: invalid_token, invalid_client_metadata, invalid_redirect_uri, slow_down as a
// [*RateLimitError].
func (e *Engine) ChangeRegistration(ctx context.Context, id string, request RegisterRequest) (*Registered, error) {
	if _, err := e.ReadRegistration(ctx, id, request.Token); err != nil {
		return nil, err
	}
	m, token := request.Metadata, request.Token
	scope, err := m.scopes(e.cfg.Registration.Scope)
	if err := cmp.Or(err, m.checkRedirects(e.cfg.Issuer)); err != nil {
		return nil, err
	}
	if wait := e.registering.Take(e.Address(request.From), e.now()); wait > 0 {
		return nil, &RateLimitError{Reason: errManyRegister, RetryAfter: wait}
	}
	m.Scope = string(scope)
	var after *clientRecord
	err = e.changeRecord(ctx, id, func(r *clientRecord) (*clientRecord, error) {
		if err := r.checkToken(token); err != nil {
			return nil, err
		}
		if public := r.Secret == (Digest{}); public != (m.AuthMethod == "none") {
			return nil, badMetadata("token_endpoint_auth_method", "a client stays public or confidential")
		}
		r.Metadata, after = m, r
		if !r.vouches(m) {
			r.Approved = Digest{}
		}
		return r, nil
	})
	if err != nil {
		return nil, err
	}
	e.emitEvent(Event{Name: EventClientChanged, ClientID: id, Reason: m.Name})
	return after.registered(), e.relist(ctx, after)
}

// ManageClient changes a registered client for the operator: its metadata, and
// whether the operator vouches for it. The caller must check the initial access
// token. Refusals: not_found, and those of change.
func (e *Engine) ManageClient(
	ctx context.Context, id string, change func(*Registered) error,
) (*Registered, error) {
	if !IsRegistered(id) || e.cfg.Documents == nil {
		return nil, errNoSuchClient
	}
	var after *clientRecord
	approved := false
	err := e.changeRecord(ctx, id, func(r *clientRecord) (*clientRecord, error) {
		if r == nil {
			return nil, errNoSuchClient
		}
		now := r.registered()
		if err := cmp.Or(change(now), now.Metadata.checkRedirects(e.cfg.Issuer)); err != nil {
			return nil, err
		}
		if public := r.Secret == (Digest{}); public != (now.Metadata.AuthMethod == "none") {
			return nil, badMetadata("authorization", "a client stays public or confidential")
		}
		approved = now.Approved && !r.vouches(now.Metadata)
		r.Metadata, r.Approved, after = now.Metadata, Digest{}, r
		if now.Approved {
			r.Approved = r.Metadata.shown()
		}
		return r, nil
	})
	if err != nil {
		return nil, err
	}
	e.emitEvent(Event{Name: EventClientChanged, ClientID: id, By: byToken, Reason: after.Metadata.Name})
	if approved {
		e.emitEvent(Event{Name: EventClientApproved, ClientID: id, By: byToken})
	}
	return after.registered(), e.relist(ctx, after)
}

// RegisteredClients lists the clients that registered, the oldest first.
func (e *Engine) RegisteredClients(ctx context.Context) (all []*Registered, err error) {
	records, err := e.clientRecords(ctx)
	for _, r := range records {
		if IsRegistered(r.ID) {
			all = append(all, r.registered())
		}
	}
	return all, err
}

// RegisteredClient returns a client that registered. Refusals: not_found.
func (e *Engine) RegisteredClient(ctx context.Context, id string) (*Registered, error) {
	if !IsRegistered(id) || e.cfg.Documents == nil {
		return nil, errNoSuchClient
	}
	r, err := e.loadRecord(ctx, id)
	if err == nil && r == nil {
		err = errNoSuchClient
	}
	if err != nil {
		return nil, err
	}
	return r.registered(), nil
}

// Deregister removes a client by its registration access token (RFC 7592 §2.3), and
// ends its grants. Refusals: invalid_token.
func (e *Engine) Deregister(ctx context.Context, id string, token Secret) error {
	if !IsRegistered(id) || e.cfg.Documents == nil {
		return errClientToken
	}
	document, err := e.cfg.Documents.LoadDocument(ctx, clientDocument(id))
	if err != nil {
		return err
	}
	var r *clientRecord
	if document != nil {
		if r, err = parseRecord(document, id); err != nil {
			return err
		}
	}
	// The token is valid also while the client is being removed, because an earlier
	// request may have failed on the way.
	if err := r.checkToken(token); err != nil {
		return err
	}
	return e.RemoveClient(ctx, id, "the client itself")
}

// IsRegistered reports whether a client_id was assigned by [Engine.Register].
func IsRegistered(id string) bool { return strings.HasPrefix(id, registeredPrefix) }
