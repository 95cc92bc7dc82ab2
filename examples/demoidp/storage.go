package demoidp

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"maps"
	"slices"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// storage implements the storage interface of the library, with an issuer's
// memory and the client of one configuration. Each method takes the lock of the
// memory by itself: the library calls several of them for one request, and none
// depends on what another has read.
type storage struct {
	*memory
	issuer string
	client client
}

// errUnknown returns a new error each time, because the library modifies
// errors.
func errUnknown() error {
	return oidc.ErrInvalidRequest().WithDescription("this sign-in is not known, or is over")
}

// CreateAuthRequest implements op.AuthStorage. The library has checked the
// request; two more checks make the demo as strict as a real provider: PKCE is
// required, and the redirect URI must be literally equal to a configured one,
// not only after unescaping.
func (s *storage) CreateAuthRequest(_ context.Context, asked *oidc.AuthRequest, _ string) (op.AuthRequest, error) {
	if !slices.Contains(s.client.redirects, asked.RedirectURI) {
		return nil, oidc.ErrInvalidRequestRedirectURI().WithDescription("this redirect_uri is not the client's")
	}
	if asked.CodeChallenge == "" || asked.CodeChallengeMethod != oidc.CodeChallengeMethodS256 {
		return nil, oidc.ErrInvalidRequest().WithDescription("want a code_challenge with the method S256")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &request{id: rand.Text(), asked: asked}
	s.requests.put(r.id, r, signInTime)
	return r, nil
}

// AuthRequestByID implements op.AuthStorage.
func (s *storage) AuthRequestByID(_ context.Context, id string) (op.AuthRequest, error) {
	r, err := s.request(id)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// request returns a sign-in that is under way. The map has the same pointer, so
// the request is never modified: signIn replaces it.
func (s *storage) request(id string) (*request, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.requests.get(id)
	if !ok {
		return nil, errUnknown()
	}
	return r, nil
}

// signIn records in a request who signed in. It copies the request, because the
// library may be reading the old one.
func (s *storage) signIn(id, account string, since time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.requests.get(id)
	if !ok {
		return errUnknown()
	}
	answered := *r
	answered.account, answered.signedIn = account, since
	s.requests.put(id, &answered, signInTime)
	return nil
}

// SaveAuthCode implements op.AuthStorage.
func (s *storage) SaveAuthCode(_ context.Context, id, code string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.codes.put(code, id, signInTime)
	return nil
}

// AuthRequestByCode implements op.AuthStorage. A code works once.
func (s *storage) AuthRequestByCode(ctx context.Context, code string) (op.AuthRequest, error) {
	s.mu.Lock()
	id, ok := s.codes.get(code)
	// The code is removed before anything else is checked (RFC 6749 §4.1.2).
	delete(s.codes, code)
	s.mu.Unlock()
	if !ok {
		return nil, errUnknown()
	}
	return s.AuthRequestByID(ctx, id)
}

// DeleteAuthRequest implements op.AuthStorage.
func (s *storage) DeleteAuthRequest(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.requests, id)
	return nil
}

// CreateAccessToken implements op.AuthStorage. The token is opaque: the
// library seals its id, and only userinfo takes it.
func (s *storage) CreateAccessToken(_ context.Context, asked op.TokenRequest) (string, time.Time, error) {
	r, ok := asked.(*request)
	if !ok {
		return "", time.Time{}, errUnsupported
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id := rand.Text()
	s.tokens.put(id, r, tokenTime)
	return id, time.Now().Add(tokenTime), nil
}

// RevokeToken implements op.AuthStorage. An unknown token counts as revoked.
func (s *storage) RevokeToken(_ context.Context, tokenID, _, _ string) *oidc.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tokens, tokenID)
	return nil
}

// TerminateSession implements op.AuthStorage: it ends the sessions of all
// browsers, which are on one machine.
func (s *storage) TerminateSession(_ context.Context, sub, _ string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.sessions, func(_ string, kept expiringItem[session]) bool {
		return "demo-"+kept.value.account == sub
	})
	return nil
}

// SetUserinfoFromToken implements op.OPStorage.
func (s *storage) SetUserinfoFromToken(_ context.Context, info *oidc.UserInfo, tokenID, _, _ string) error {
	s.mu.Lock()
	r, ok := s.tokens.get(tokenID)
	s.mu.Unlock()
	if !ok {
		return errUnknown()
	}
	return s.describe(info, r.account, r.GetScopes())
}

// SetUserinfoFromRequest implements op.CanSetUserinfoFromRequest, for the ID token.
func (s *storage) SetUserinfoFromRequest(_ context.Context, info *oidc.UserInfo, asked op.IDTokenRequest,
	scopes []string) error {
	r, ok := asked.(*request)
	if !ok {
		return errUnsupported
	}
	return s.describe(info, r.account, scopes)
}

// describe fills in the claims of an account. An unknown account is an error.
func (s *storage) describe(info *oidc.UserInfo, id string, scopes []string) error {
	a, ok := accountByID(id)
	if !ok {
		return errUnknown()
	}
	a.claims(info, s.issuer, scopes)
	return nil
}

// GetClientByClientID implements op.OPStorage. The error is the same as for a
// wrong secret.
func (s *storage) GetClientByClientID(_ context.Context, id string) (op.Client, error) {
	if id != s.client.id {
		return nil, oidc.ErrInvalidClient().WithDescription("unknown client")
	}
	return s.client, nil
}

// AuthorizeClientIDSecret implements op.OPStorage. The id is public, so only
// the secret is compared in constant time.
func (s *storage) AuthorizeClientIDSecret(_ context.Context, id, secret string) error {
	if id != s.client.id || subtle.ConstantTimeCompare([]byte(secret), []byte(s.client.secret)) == 0 {
		return oidc.ErrInvalidClient().WithDescription("unknown client or wrong secret")
	}
	return nil
}

var (
	_ op.Storage                   = (*storage)(nil)
	_ op.CanSetUserinfoFromRequest = (*storage)(nil)
)
