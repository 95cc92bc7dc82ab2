package deviceclient

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/oauth2"

	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// How a login can end beside success and trouble. Compare them by errors.Is.
// Every other error is a fault, or a refusal in the server's words.
var (
	ErrDenied      = errors.New("denied")
	ErrExpired     = errors.New("nobody answered in time")
	ErrInteraction = errors.New("a person has to say yes, and nobody may be asked")
)

// Options say who logs in, and for what. ClientID is required, and Show where
// a person may be asked.
type Options struct {
	HTTP         *http.Client // its redirects are not followed
	ClientID     string
	ClientSecret string   // empty: a public client
	Scopes       []string // none: what the client has by default
	Audience     string   // empty: what the API calls itself, and else the server's default
	DeviceName   string   // what the device calls itself, to the person who is asked; empty: nothing
	Unattended   bool     // ask no person: ErrInteraction

	// ValidFor is how long a kept token that can be refreshed must still be good to be
	// handed out as it is; at least a minute.
	ValidFor time.Duration
	Show     func(Prompt)

	// Browse opens an address in a browser of this computer. Where it is there, and the
	// server offers a login in the browser, that is tried first (RFC 8252); nil: the login
	// of a device, by a code.
	Browse      func(address string) error
	BrowserOnly bool // no code where the browser fails

	Connected func()       // a person has said yes; may be nil
	Note      func(string) // what else a person may want to know; may be nil
}

// note calls Options.Note. The text may quote a server, so control characters
// are taken out.
func (o Options) note(format string, args ...any) {
	if o.Note != nil {
		o.Note(text.Plain(fmt.Sprintf(format, args...)))
	}
}

// posting tells the library which client to use.
func (o Options) posting(ctx context.Context) context.Context {
	return context.WithValue(ctx, oauth2.HTTPClient, posting(o.HTTP))
}

// config is the library's view of client and server. The library would
// otherwise try both ways of client authentication, and a public client has
// only one.
func (o Options) config(s Server) *oauth2.Config {
	config := &oauth2.Config{
		ClientID: o.ClientID, ClientSecret: o.ClientSecret, Scopes: o.Scopes,
		Endpoint: oauth2.Endpoint{DeviceAuthURL: s.DeviceAuthorization, TokenURL: s.Token},
	}
	if o.ClientSecret == "" {
		config.Endpoint.AuthStyle = oauth2.AuthStyleInParams // nothing to find out
	}
	return config
}

// A Prompt is what a person must see (RFC 8628 §3.3). Whatever the server said,
// it has no control characters, and its addresses are http or https.
type Prompt struct {
	Address  string    // where to type the code; of a login in the browser, what the browser opens
	Code     string    // empty: a login in the browser
	Complete string    // the address with the code in it; may be empty
	Warning  string    // what to know before saying yes: who would have the token; may be empty
	Expires  time.Time // of the code; zero: unknown
}

// Login asks a person: in a browser of this computer where Options.Browse is there, and
// else by a code that it shows. It returns a token, [ErrDenied], [ErrExpired], ctx's
// error, or a fault. The code is shown once, with all that RFC 8628 §3.3 wants a person
// to see, and Connected is called after the token has arrived.
func Login(ctx context.Context, s Server, o Options) (token *oauth2.Token, err error) {
	defer sanitize(&err)
	if o.Unattended {
		return nil, ErrInteraction
	}
	if token, err = o.login(ctx, s); err != nil {
		return nil, err
	}
	if err := checkToken(token); err != nil {
		return nil, err
	}
	if o.Connected != nil {
		o.Connected()
	}
	return token, nil
}

// login tries the browser first where it is to be tried.
func (o Options) login(ctx context.Context, s Server) (*oauth2.Token, error) {
	if o.Browse == nil {
		return o.logInByCode(ctx, s)
	}
	if text := s.secretWarning(); text != "" && o.ClientSecret != "" {
		o.note("%s", text)
	}
	token, err := o.logInByBrowser(ctx, s)
	var none errNoBrowserLogin
	if o.BrowserOnly || !errors.As(err, &none) {
		return token, err
	}
	o.note("%v.", err)
	return o.logInByCode(ctx, s)
}

// resourceOptions say which API the token is for.
func (o Options) resourceOptions(s Server) []oauth2.AuthCodeOption {
	switch {
	case o.Audience != "":
		return []oauth2.AuthCodeOption{oauth2.SetAuthURLParam("audience", o.Audience)}
	case s.Resource != "":
		return []oauth2.AuthCodeOption{oauth2.SetAuthURLParam("resource", s.Resource)} // RFC 8707 §2
	}
	return nil
}

// logInByCode is RFC 8628.
func (o Options) logInByCode(ctx context.Context, s Server) (*oauth2.Token, error) {
	config := o.config(s)
	ctx = o.posting(ctx)
	options := o.resourceOptions(s)
	if o.ClientSecret != "" { // the library sends it to the token endpoint only; RFC 8628 §3.1 wants it here too
		options = append(options, oauth2.SetAuthURLParam("client_secret", o.ClientSecret))
	}
	if o.DeviceName != "" {
		options = append(options, oauth2.SetAuthURLParam("device_name", o.DeviceName))
	}
	if text := s.secretWarning(); text != "" && o.ClientSecret != "" {
		o.note("%s", text)
	}
	code, err := config.DeviceAuth(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("asking for a code: %w", plain(err))
	}
	prompt, err := s.prompt(code)
	if err != nil {
		return nil, err
	}
	o.Show(prompt)
	return o.wait(ctx, config, code)
}

// wait polls until there is an answer. Where the server was not reached it is
// asked again, less and less often (RFC 8628 §3.5). The library itself keeps
// the interval, and makes it longer at slow_down.
func (o Options) wait(ctx context.Context, config *oauth2.Config,
	code *oauth2.DeviceAuthResponse) (*oauth2.Token, error) {
	for {
		token, err := config.DeviceAccessToken(ctx, code)
		var unreached *url.Error
		switch {
		case err == nil:
			return token, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case !code.Expiry.IsZero() && time.Now().After(code.Expiry): // the library stops by itself then
			return nil, ErrExpired
		case !errors.As(err, &unreached) || code.Expiry.IsZero():
			return nil, plain(err)
		}
		o.note("No answer from the server, asking again: %v", err)
		code.Interval = 2 * cmp.Or(code.Interval, 5) // 5 where the server names none
	}
}

// plain names the ends that a caller wants to tell apart, and shortens the
// library's account of the others to what the server said.
func plain(err error) error {
	var refusal *oauth2.RetrieveError
	switch {
	case !errors.As(err, &refusal):
		return err
	case refusal.ErrorCode == "" || refusal.Response.StatusCode/100 == 3:
		return unexpected(refusal.Response, refusal.Body)
	case refusal.ErrorCode == "access_denied":
		return ErrDenied
	case refusal.ErrorCode == "expired_token":
		return ErrExpired
	}
	return fmt.Errorf("%s: %s", text.Plain(refusal.ErrorCode), text.Plain(refusal.ErrorDescription))
}
