package demoidp

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// storage is what the provider library asks to be remembered: sign-ins under
// way and the access tokens they led to, in memory, bounded, for minutes.
type storage struct {
	issuer string
	client client
	key    *ecdsa.PrivateKey

	mu       sync.Mutex
	requests shelf[*request]
	codes    shelf[string] // code → request
	tokens   shelf[*request]
	sessions shelf[session]
}

// A session is a browser that has signed in.
type session struct {
	account string
	since   time.Time
}

const (
	signInTime  = 10 * time.Minute
	tokenTime   = 5 * time.Minute
	sessionTime = 12 * time.Hour
)

func newStorage(issuer string, c client) (*storage, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return &storage{
		issuer: issuer, client: c, key: key,
		requests: shelf[*request]{}, codes: shelf[string]{}, tokens: shelf[*request]{}, sessions: shelf[session]{},
	}, nil
}

// A shelf is a map whose items leave at their time, or when it is full.
type shelf[T any] map[string]shelved[T]

type shelved[T any] struct {
	value   T
	expires time.Time
}

const shelfSize = 1000

func (s shelf[T]) put(key string, value T, life time.Duration) {
	now := time.Now()
	for k, item := range s {
		if now.After(item.expires) || len(s) >= shelfSize {
			delete(s, k)
		}
	}
	s[key] = shelved[T]{value, now.Add(life)}
}

func (s shelf[T]) get(key string) (value T, ok bool) {
	item, ok := s[key]
	if !ok || time.Now().After(item.expires) {
		return value, false
	}
	return item.value, true
}

var errUnknown = oidc.ErrInvalidRequest().WithDescription("this sign-in is not known, or is over")

// A request is one sign-in (OpenID Connect Core §3.1.2.1).
type request struct {
	id       string
	asked    *oidc.AuthRequest
	account  string // empty until somebody has signed in
	signedIn time.Time
}

// The methods by which the library reads a request.
func (r *request) GetID() string                      { return r.id }
func (r *request) GetACR() string                     { return "" }
func (r *request) GetAMR() []string                   { return nil }
func (r *request) GetAudience() []string              { return []string{r.asked.ClientID} }
func (r *request) GetAuthTime() time.Time             { return r.signedIn }
func (r *request) GetClientID() string                { return r.asked.ClientID }
func (r *request) GetNonce() string                   { return r.asked.Nonce }
func (r *request) GetRedirectURI() string             { return r.asked.RedirectURI }
func (r *request) GetResponseType() oidc.ResponseType { return r.asked.ResponseType }
func (r *request) GetResponseMode() oidc.ResponseMode { return r.asked.ResponseMode }
func (r *request) GetScopes() []string                { return r.asked.Scopes }
func (r *request) GetState() string                   { return r.asked.State }
func (r *request) GetSubject() string                 { return "demo-" + r.account }
func (r *request) Done() bool                         { return r.account != "" }
func (r *request) GetCodeChallenge() *oidc.CodeChallenge {
	if r.asked.CodeChallenge == "" {
		return nil
	}
	return &oidc.CodeChallenge{Challenge: r.asked.CodeChallenge, Method: r.asked.CodeChallengeMethod}
}

// CreateAuthRequest implements op.AuthStorage.
func (s *storage) CreateAuthRequest(_ context.Context, asked *oidc.AuthRequest, _ string) (op.AuthRequest, error) {
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

func (s *storage) request(id string) (*request, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.requests.get(id)
	if !ok {
		return nil, errUnknown
	}
	return r, nil
}

// signIn answers a request for an account.
func (s *storage) signIn(id, account string, since time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.requests.get(id)
	if !ok {
		return errUnknown
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
	delete(s.codes, code)
	s.mu.Unlock()
	if !ok {
		return nil, errUnknown
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

// CreateAccessToken implements op.AuthStorage.
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

// SetUserinfoFromToken implements op.OPStorage.
func (s *storage) SetUserinfoFromToken(_ context.Context, info *oidc.UserInfo, tokenID, _, _ string) error {
	s.mu.Lock()
	r, ok := s.tokens.get(tokenID)
	s.mu.Unlock()
	if !ok {
		return errUnknown
	}
	return s.describe(info, r.account, r.GetScopes())
}

// SetUserinfoFromRequest implements op.CanSetUserinfoFromRequest, for the ID token.
func (s *storage) SetUserinfoFromRequest(_ context.Context, info *oidc.UserInfo, asked op.IDTokenRequest, scopes []string) error {
	r, ok := asked.(*request)
	if !ok {
		return errUnsupported
	}
	return s.describe(info, r.account, scopes)
}

func (s *storage) describe(info *oidc.UserInfo, id string, scopes []string) error {
	a, ok := accountByID(id)
	if !ok {
		return errUnknown
	}
	a.claims(info, s.issuer, scopes)
	return nil
}

// GetClientByClientID implements op.OPStorage.
func (s *storage) GetClientByClientID(_ context.Context, id string) (op.Client, error) {
	if id != s.client.id {
		return nil, oidc.ErrInvalidClient().WithDescription("unknown client")
	}
	return s.client, nil
}

// AuthorizeClientIDSecret implements op.OPStorage.
func (s *storage) AuthorizeClientIDSecret(_ context.Context, id, secret string) error {
	if id != s.client.id || subtle.ConstantTimeCompare([]byte(secret), []byte(s.client.secret)) == 0 {
		return oidc.ErrInvalidClient().WithDescription("unknown client or wrong secret")
	}
	return nil
}

// errUnsupported answers what the demo does not offer.
var errUnsupported = errors.New("the demo provider does not offer this")

// What the library asks of providers that offer more.
func (s *storage) CreateAccessAndRefreshTokens(context.Context, op.TokenRequest, string) (string, string, time.Time, error) {
	return "", "", time.Time{}, errUnsupported
}
func (s *storage) TokenRequestByRefreshToken(context.Context, string) (op.RefreshTokenRequest, error) {
	return nil, errUnsupported
}
func (s *storage) TerminateSession(context.Context, string, string) error { return nil }
func (s *storage) RevokeToken(context.Context, string, string, string) *oidc.Error {
	return nil
}
func (s *storage) GetRefreshTokenInfo(context.Context, string, string) (string, string, error) {
	return "", "", op.ErrInvalidRefreshToken
}
func (s *storage) SetUserinfoFromScopes(context.Context, *oidc.UserInfo, string, string, []string) error {
	return nil
}
func (s *storage) SetIntrospectionFromToken(context.Context, *oidc.IntrospectionResponse, string, string, string) error {
	return errUnsupported
}
func (s *storage) GetPrivateClaimsFromScopes(context.Context, string, string, []string) (map[string]any, error) {
	return nil, nil
}
func (s *storage) GetKeyByIDAndClientID(context.Context, string, string) (*jose.JSONWebKey, error) {
	return nil, errUnsupported
}
func (s *storage) ValidateJWTProfileScopes(context.Context, string, []string) ([]string, error) {
	return nil, errUnsupported
}
func (s *storage) Health(context.Context) error { return nil }

var (
	_ op.Storage                   = (*storage)(nil)
	_ op.CanSetUserinfoFromRequest = (*storage)(nil)
)
