package deviceclient

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/oauth2"

	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// Results of a login other than success, for errors.Is. Any other error is a fault,
// or a refusal in the server's words.
var (
	ErrDenied      = errors.New("denied")
	ErrExpired     = errors.New("nobody answered in time")
	ErrInteraction = errors.New("a person has to say yes, and nobody may be asked")
)

// Options are the client's credentials and what it requests. ClientID is required,
// and Show unless Unattended is set.
type Options struct {
	HTTP         *http.Client // its redirects are not followed
	ClientID     string
	ClientSecret string   // empty: a public client
	Scopes       []string // none: the client's default
	Audience     string   // empty: the API's resource, or else the server's default
	DeviceName   string   // the device's name for the person who is asked; empty: none
	Unattended   bool     // never ask a person, but return ErrInteraction

	// ValidFor is how long a stored token must still be valid, if it can be
	// refreshed; otherwise it is refreshed. At least a minute.
	ValidFor time.Duration
	Show     func(Prompt)

	// Browse opens a URL in a browser of this computer. If it is set and the server
	// supports a login in the browser, that is tried first (RFC 8252); nil: only the
	// device flow is used.
	Browse      func(address string) error
	BrowserOnly bool // do not fall back to the device flow

	Connected func()       // called when a person has approved; may be nil
	Note      func(string) // called with other messages for the person; may be nil
}

// note calls Options.Note. The text may quote a server, so control characters are
// removed.
func (o Options) note(format string, args ...any) {
	if o.Note != nil {
		o.Note(text.Plain(fmt.Sprintf(format, args...)))
	}
}

// posting returns a context with the HTTP client for the library.
func (o Options) posting(ctx context.Context) context.Context {
	return context.WithValue(ctx, oauth2.HTTPClient, posting(o.HTTP))
}

// config returns the library's configuration of client and server. For a public
// client it sets the authentication style, because otherwise the library would try
// both.
func (o Options) config(s Server) *oauth2.Config {
	config := &oauth2.Config{
		ClientID: o.ClientID, ClientSecret: o.ClientSecret, Scopes: o.Scopes,
		Endpoint: oauth2.Endpoint{DeviceAuthURL: s.DeviceAuthorization, TokenURL: s.Token},
	}
	if o.ClientSecret == "" {
		config.Endpoint.AuthStyle = oauth2.AuthStyleInParams // no need to try both
	}
	return config
}

// A Prompt is what a person must see (RFC 8628 §3.3). It has no control characters,
// and its addresses are http or https URLs, whatever the server sent.
type Prompt struct {
	Address  string    // where to type the code; with a login in the browser: the page that opens
	Code     string    // empty: a login in the browser
	Complete string    // the address that includes the code; may be empty
	Warning  string    // who would get the token, before the person approves; may be empty
	Expires  time.Time // of the code; zero: unknown
}

// Login asks a person: in a browser of this computer if Options.Browse is set, and
// else with a code. It returns a token, [ErrDenied], [ErrExpired], ctx's error, or a
// fault. It shows the code once, with everything that a person should see (RFC 8628
// §3.3), and calls Connected when the token has arrived.
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

// login tries the browser first, if Browse is set.
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

// resource returns the parameter for the API that the token is for; no name: there is none.
func (o Options) resource(s Server) (name, value string) {
	switch {
	case o.Audience != "":
		return "audience", o.Audience
	case s.Resource != "":
		return "resource", s.Resource // RFC 8707 §2
	}
	return "", ""
}

// resourceOptions returns the parameter of resource for the library.
func (o Options) resourceOptions(s Server) []oauth2.AuthCodeOption {
	if name, value := o.resource(s); name != "" {
		return []oauth2.AuthCodeOption{oauth2.SetAuthURLParam(name, value)}
	}
	return nil
}

// logInByCode uses the device flow (RFC 8628).
func (o Options) logInByCode(ctx context.Context, s Server) (*oauth2.Token, error) {
	if text := s.secretWarning(); text != "" && o.ClientSecret != "" {
		o.note("%s", text)
	}
	code, err := o.requestCode(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("asking for a code: %w", plain(err))
	}
	prompt, err := s.prompt(code)
	if err != nil {
		return nil, err
	}
	o.Show(prompt)
	return o.wait(o.posting(ctx), o.config(s), code)
}

// wait polls until there is a result. If the server cannot be reached, or responds that
// it cannot decide now, wait pauses before it polls at the interval again. The pauses
// grow up to a limit (RFC 8628 §3.5), and are not shorter than Retry-After. The library
// itself handles the interval and slow_down.
func (o Options) wait(ctx context.Context, config *oauth2.Config,
	code *oauth2.DeviceAuthResponse) (*oauth2.Token, error) {
	interval := time.Duration(cmp.Or(code.Interval, 5)) * time.Second // 5 is the default
	for pause := 2 * interval; ; pause = min(2*pause, max(maxPause, interval)) {
		token, err := config.DeviceAccessToken(ctx, code)
		after, again := retryLater(err)
		switch {
		case err == nil:
			return token, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case !code.Expiry.IsZero() && time.Now().After(code.Expiry): // the library stops polling then
			return nil, ErrExpired
		case !again || code.Expiry.IsZero():
			return nil, plain(err)
		}
		o.note("No answer from the server, asking again: %v", plain(err))
		// The library itself waits for an interval before it polls, so the interval is
		// subtracted from the pause, which is never shorter. The last poll is just before
		// the code expires.
		select {
		case <-time.After(min(max(pause, after), time.Until(code.Expiry)-time.Second) - interval):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// maxPause is the longest pause between polls that fail.
const maxPause = time.Minute

// plain returns the errors that callers distinguish, and shortens the library's other
// errors to the server's text.
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
