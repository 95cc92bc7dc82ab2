package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"golang.org/x/oauth2"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/deviceclient"
	"github.com/deviceauth/caddy-deviceauth/internal/httpclient"
)

// The exit codes of device-login, on which scripts depend; the help lists
// them.
const (
	exitDenied      = 3   // the person denied (RFC 8628 §3.5: access_denied)
	exitExpired     = 4   // the code expired, or --timeout passed
	exitInteraction = 5   // --non-interactive, and a person would have to be asked
	exitInterrupted = 130 // as in shells: 128 and SIGINT
)

// The command is registered with Caddy's own command line, like device-auth.
func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:      "device-login",
		Usage:     "<url> [--output header|token|json|curl] [--new|--no-keep|--non-interactive] | logout <url>",
		Short:     "Signs this terminal in at an API behind device login",
		Long:      loginHelp,
		CobraFunc: loginCommand,
	})
}

// loginCommand adds the flags and the subcommand logout to the command that
// Caddy created. Both share the flags that identify a stored token.
func loginCommand(cmd *cobra.Command) {
	l := &login{out: os.Stdout, err: os.Stderr}
	cmd.Args = l.args
	both := cmd.PersistentFlags()
	both.StringVarP(&l.client, "client", "c", "device-login", "The client_id to use")
	both.StringVar(&l.secretFile, "client-secret-file", "", "File with the secret of a confidential client")
	both.StringVarP(&l.scope, "scope", "s", "", "Scopes to ask for, separated by spaces (default: what the client has)")
	both.StringVar(&l.audience, "audience", "",
		"The API that the token is for (default: what the API calls itself, else the server's)")
	both.StringVar(&l.ca, "ca", "", "A PEM file with certificates to trust beside the system's")
	both.StringVar(&l.issuer, "issuer", "",
		"The server to trust with all APIs that name it; the URL of an API may then be left out")
	flags := cmd.Flags()
	flags.StringVarP(&l.output, "output", "o", "header", "What to print: header, token, json or curl")
	flags.BoolVar(&l.noQR, "no-qr", false, "Print no QR code; there is none where standard error is no terminal")
	flags.BoolVar(&l.newLogin, "new", false, "Ask a person anew, and replace the token that is kept")
	flags.BoolVar(&l.noKeep, "no-keep", false, "Neither use the token that is kept nor keep this one")
	flags.BoolVar(&l.unattended, "non-interactive", false, "Ask no questions: use the stored token, or fail")
	flags.BoolVar(&l.browser, "browser", false, "Sign in in a browser of this computer, or fail")
	flags.BoolVar(&l.device, "device", false, "Show a code, also where this computer has a browser")
	flags.BoolVar(&l.open, "open", false, "Show a code, and open its address in a browser of this computer")
	flags.DurationVar(&l.validFor, "valid-for", time.Minute, "Refresh a kept token that is good for less than that")
	flags.DurationVar(&l.timeout, "timeout", 0, "How long to wait, such as 2m (default: as long as the code is good)")
	flags.StringVar(&l.deviceName, "device-name", "",
		`What to call this device to the person who is asked; "" is nothing (default: the host name)`)
	// Without a person, neither a new login nor one that is not stored can
	// succeed.
	cmd.MarkFlagsMutuallyExclusive("non-interactive", "new")
	cmd.MarkFlagsMutuallyExclusive("non-interactive", "no-keep")
	cmd.MarkFlagsMutuallyExclusive("browser", "device", "non-interactive")
	cmd.MarkFlagsMutuallyExclusive("browser", "open")
	cmd.RunE = l.command(func(ctx context.Context, address string) error {
		if !flags.Changed("device-name") {
			l.deviceName = hostName()
		}
		return l.run(ctx, address)
	})
	cmd.AddCommand(&cobra.Command{
		Use: "logout <url>", Short: "Revokes the token that is kept, and deletes it", Args: l.args,
		RunE: l.command(l.logout),
	})
}

// A login is one run of device-login: its flags, and its writers.
type login struct {
	client, secretFile, scope, audience, issuer, ca, output, deviceName string

	noQR, newLogin, noKeep, unattended, open, browser, device bool

	timeout   time.Duration // for the whole command; 0: none
	validFor  time.Duration // how long a stored token must still be valid
	connected bool          // a person has approved in this run
	out, err  io.Writer     // only the result goes to out
}

// args checks the arguments: the URL of an API, which may be omitted with
// --issuer.
func (l *login) args(_ *cobra.Command, args []string) error {
	if len(args) > 1 || len(args) == 0 && l.issuer == "" {
		return errors.New("want one URL, of the API or its server")
	}
	// With --issuer alone, the issuer's own URL is used as that of the API.
	return nil
}

// command wraps a run of the command: an interrupt cancels its context, and
// its error becomes an exit code.
func (l *login) command(run func(context.Context, string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		defer stop()
		address := l.issuer
		if len(args) > 0 {
			address = args[0]
		}
		err := run(ctx, address)
		// The error of a cancelled request does not help a person, so it is
		// replaced.
		if err != nil && ctx.Err() != nil {
			err = errInterrupted
		}
		return l.end(cmd, err)
	}
}

// run obtains a token and prints it in the format of --output. It checks
// --output first, before it asks a person.
func (l *login) run(ctx context.Context, address string) error {
	format, ok := outputFormats[l.output]
	if !ok {
		return fmt.Errorf("--output %q: want header, token, json or curl", l.output)
	}
	token, err := l.tokenInTime(ctx, address)
	if err != nil {
		return err
	}
	// The sentence is printed only after a person was asked: a stored token
	// needs no words.
	if l.connected {
		fmt.Fprintln(l.err, l.welcome(token))
	}
	text, err := format(token)
	if err == nil {
		_, err = fmt.Fprintln(l.out, text)
	}
	return err
}

// tokenInTime finds the server and obtains the token within --timeout. A run
// that takes longer ends like one whose code expired, because for a script it
// is the same.
func (l *login) tokenInTime(ctx context.Context, address string) (*oauth2.Token, error) {
	// A negative duration is a typing error, and 0 is the default: as long as
	// the code is valid.
	if l.timeout < 0 {
		return nil, fmt.Errorf("--timeout %v: want a length of time such as 2m", l.timeout)
	}
	// The cause distinguishes this deadline from that of a single request.
	late := fmt.Errorf("%w: --timeout %v", deviceclient.ErrExpired, l.timeout)
	if l.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, l.timeout, late)
		defer cancel()
	}
	server, options, err := l.find(ctx, address)
	var token *oauth2.Token
	if err == nil {
		token, err = l.token(ctx, server, options)
	}
	if err != nil && context.Cause(ctx) == late {
		err = late
	}
	return token, err
}

// token returns the stored token, refreshed if needed, or a new one. The
// stored tokens are locked meanwhile, so that two runs do not refresh the same
// token simultaneously.
func (l *login) token(
	ctx context.Context, server deviceclient.Server, options deviceclient.Options,
) (*oauth2.Token, error) {
	// With --no-keep there is no stored token to refresh, and every run asks a
	// person.
	if l.noKeep {
		return deviceclient.Login(ctx, server, options)
	}
	folder, err := deviceclient.UserFolder()
	if err != nil {
		return nil, fmt.Errorf("%w; --no-keep does without", err)
	}
	keep := folder.Token
	if l.newLogin {
		keep = folder.Anew
	}
	token, err := keep(ctx, server, options)
	// If the system lacks something that the folder needs, the message
	// suggests --no-keep.
	if errors.Is(err, errors.ErrUnsupported) {
		err = fmt.Errorf("%w; --no-keep does without", err)
	}
	return token, err
}

// logout revokes the stored token at the server (RFC 7009), and deletes it.
func (l *login) logout(ctx context.Context, address string) error {
	server, options, err := l.find(ctx, address)
	if err != nil {
		return err
	}
	folder, err := deviceclient.UserFolder()
	if err != nil {
		return err
	}
	outcome, err := folder.Logout(ctx, server, options)
	if err == nil {
		_, err = fmt.Fprintln(l.out, outcome)
	}
	return err
}

// find finds the authorization server, and returns it with the options of the
// client. With --issuer the server must be that one; otherwise it is named by
// the API's own metadata (RFC 9728).
func (l *login) find(ctx context.Context, address string) (deviceclient.Server, deviceclient.Options, error) {
	secret, err := l.secret()
	if err != nil {
		return deviceclient.Server{}, deviceclient.Options{}, err
	}
	client, err := httpclient.New(l.ca, 30*time.Second)
	if err != nil {
		return deviceclient.Server{}, deviceclient.Options{}, err
	}
	// Every request has its own timeout, while the wait for the person is
	// limited by the code's lifetime.
	options := deviceclient.Options{
		HTTP: client, ClientID: l.client, ClientSecret: secret, Scopes: strings.Fields(l.scope), Audience: l.audience,
		DeviceName: l.deviceName, Unattended: l.unattended, ValidFor: l.validFor,
		Show: l.show, Connected: func() { l.connected = true }, Note: func(text string) { fmt.Fprintln(l.err, text) },
	}
	if l.browser || !l.device && !l.open && hasBrowser() {
		options.Browse, options.BrowserOnly = browse, l.browser
	}
	// DiscoverOf also checks that the API names this issuer, so that no other
	// API gets the token.
	if l.issuer != "" {
		server, err := deviceclient.DiscoverOf(ctx, client, l.issuer, address)
		return server, options, err
	}
	server, err := deviceclient.Discover(ctx, client, address)
	if server.NoResource != "" {
		fmt.Fprintf(l.err, "No token is for %s: %s\n", address, server.NoResource)
	}
	return server, options, err
}

// secret reads the client secret from its file; without the flag the client is
// public. A secret is never a flag, because other users of the machine can see
// arguments.
func (l *login) secret() (string, error) {
	if l.secretFile == "" {
		return "", nil
	}
	text, err := os.ReadFile(l.secretFile)
	return strings.TrimSpace(string(text)), err
}
