package deviceclient

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"golang.org/x/oauth2"
)

// How a login can end beside success and trouble.
var (
	ErrDenied  = errors.New("the request was denied")
	ErrExpired = errors.New("nobody answered in time")
)

// Options say who logs in, and for what.
type Options struct {
	HTTP         *http.Client
	ClientID     string
	ClientSecret string   // empty: a public client
	Scopes       []string // none: what the client has by default
	Audience     string   // empty: the server's default
	Show         func(Prompt)
}

// A Prompt is what a person must see (RFC 8628 §3.3).
type Prompt struct {
	Address  string // where to type the code
	Code     string
	Complete string // the address with the code in it; may be empty
}

// Login asks for a code, shows it and waits for a person's answer.
func Login(ctx context.Context, s Server, o Options) (*oauth2.Token, error) {
	config := &oauth2.Config{
		ClientID: o.ClientID, ClientSecret: o.ClientSecret, Scopes: o.Scopes,
		Endpoint: oauth2.Endpoint{DeviceAuthURL: s.DeviceAuthorization, TokenURL: s.Token},
	}
	if o.ClientSecret == "" {
		config.Endpoint.AuthStyle = oauth2.AuthStyleInParams // nothing to find out
	}
	ctx = context.WithValue(ctx, oauth2.HTTPClient, o.HTTP)
	var options []oauth2.AuthCodeOption
	if o.Audience != "" {
		options = append(options, oauth2.SetAuthURLParam("audience", o.Audience))
	}
	code, err := config.DeviceAuth(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("asking for a code: %w", plain(err))
	}
	o.Show(Prompt{code.VerificationURI, code.UserCode, code.VerificationURIComplete})
	token, err := config.DeviceAccessToken(ctx, code)
	if err != nil {
		return nil, plain(err)
	}
	return token, nil
}

// plain names the ends that a caller wants to tell apart, and shortens the
// library's account of the others to what the server said.
func plain(err error) error {
	var said *oauth2.RetrieveError
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return ErrExpired // the library stops by itself when the code has expired
	case !errors.As(err, &said) || said.ErrorCode == "":
		return err
	case said.ErrorCode == "access_denied":
		return ErrDenied
	case said.ErrorCode == "expired_token":
		return ErrExpired
	}
	return fmt.Errorf("%s: %s", said.ErrorCode, said.ErrorDescription)
}
