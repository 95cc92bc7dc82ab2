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

// The exit codes of device-login, which scripts depend on; the help lists them.
const (
	exitDenied      = 3   // the person denied (RFC 8628 §3.5: access_denied)
	exitExpired     = 4   // the code expired, or --timeout passed
	exitInteraction = 5   // --non-interactive, and a person would have to be asked
	exitInterrupted = 130 // as shells have it: 128 and SIGINT
)

// The command is registered with Caddy's own command line, as device-auth is.
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
// Caddy made. The flags that identify a kept token are shared by both.
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
	flags.BoolVar(&l.unattended, "non-interactive", false, "Ask nobody: use the token that is kept, or fail")
	flags.BoolVar(&l.browser, "browser", false, "Sign in in a browser of this computer, or fail")
	flags.BoolVar(&l.device, "device", false, "Show a code, also where this computer has a browser")
	flags.BoolVar(&l.open, "open", false, "Show a code, and open its address in a browser of this computer")
	flags.DurationVar(&l.validFor, "valid-for", time.Minute, "Refresh a kept token that is good for less than that")
	flags.DurationVar(&l.timeout, "timeout", 0, "How long to wait, such as 2m (default: as long as the code is good)")
	flags.StringVar(&l.deviceName, "device-name", "",
		`What to call this device to the person who is asked; "" is nothing (default: the host name)`)
	// Without a person neither a new login nor one that is not kept could
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

// A login is one run of device-login: its flags, and where it writes.
type login struct {
	client, secretFile, scope, audience, issuer, ca, output, deviceName string

	noQR, newLogin, noKeep, unattended, open, browser, device bool

	timeout   time.Duration // for the whole command; 0: none
	validFor  time.Duration // how long a kept token must still be good
	connected bool          // a person allowed it in this run
	out, err  io.Writer     // the result alone goes to out
}

// args wants the URL of an API; with --issuer it may be left out.
func (l *login) args(_ *cobra.Command, args []string) error {
	if len(args) > 1 || len(args) == 0 && l.issuer == "" {
		return errors.New("want one URL, of the API or its server")
	}
	// With --issuer alone, the issuer's own URL takes the place of the API's.
	return nil
}

// command wraps a run of the command: an interrupt cancels its context, and its
// error becomes an exit code.
func (l *login) command(run func(context.Context, string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		defer stop()
		address := l.issuer
		if len(args) > 0 {
			address = args[0]
		}
		err := run(ctx, address)
		// The error of a cancelled request says nothing to a person, so it is
		// replaced.
		if err != nil && ctx.Err() != nil {
			err = errInterrupted
		}
		return l.end(cmd, err)
	}
}

// run obtains a token and prints it as --output says. The value of --output is
// checked first, before a person is asked for anything.
func (l *login) run(ctx context.Context, address string) error {
	format, ok := outputFormats[l.output]
	if !ok {
		return fmt.Errorf("--output %q: want header, token, json or curl", l.output)
	}
	token, err := l.tokenInTime(ctx, address)
	if err != nil {
		return err
	}
	// The sentence is printed only after a person was asked: a kept token needs
	// no words.
	if l.connected {
		fmt.Fprintln(l.err, l.welcome(token))
	}
	text, err := format(token)
	if err == nil {
		_, err = fmt.Fprintln(l.out, text)
	}
	return err
}

// tokenInTime finds the server and obtains the token within --timeout. A run that
// took longer ends as one whose code expired does, because for a script it is
// the same.
func (l *login) tokenInTime(ctx context.Context, address string) (*oauth2.Token, error) {
	// A negative length is a typing error, and 0 is the default: as long as the code
	// is good.
	if l.timeout < 0 {
		return nil, fmt.Errorf("--timeout %v: want a length of time such as 2m", l.timeout)
	}
	// The cause tells this deadline from the one of a single request.
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

// token is the kept token, refreshed where needed, or a new one. The kept tokens
// are locked while they are in use, so that two runs do not refresh one token at
// the same time.
func (l *login) token(
	ctx context.Context, server deviceclient.Server, options deviceclient.Options,
) (*oauth2.Token, error) {
	// Without a kept token there is nothing to refresh, and every run asks a
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
	// Where the system lacks what the folder needs, the message says how to do
	// without.
	if errors.Is(err, errors.ErrUnsupported) {
		err = fmt.Errorf("%w; --no-keep does without", err)
	}
	return token, err
}

// logout revokes the kept token at the server (RFC 7009), and deletes it.
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

// find finds the authorization server, and assembles the options of the client.
// With --issuer the server must be that one; otherwise the API's own metadata
// name it (RFC 9728).
func (l *login) find(ctx context.Context, address string) (deviceclient.Server, deviceclient.Options, error) {
	secret, err := l.secret()
	if err != nil {
		return deviceclient.Server{}, deviceclient.Options{}, err
	}
	client, err := httpclient.New(l.ca, 30*time.Second)
	if err != nil {
		return deviceclient.Server{}, deviceclient.Options{}, err
	}
	// Every request has a timeout of its own, while the wait for the person is
	// bounded by the code's lifetime.
	options := deviceclient.Options{
		HTTP: client, ClientID: l.client, ClientSecret: secret, Scopes: strings.Fields(l.scope), Audience: l.audience,
		DeviceName: l.deviceName, Unattended: l.unattended, ValidFor: l.validFor,
		Show: l.show, Connected: func() { l.connected = true }, Note: func(text string) { fmt.Fprintln(l.err, text) },
	}
	if l.browser || !l.device && !l.open && hasBrowser() {
		options.Browse, options.BrowserOnly = browse, l.browser
	}
	// DiscoverOf also checks that the API names this issuer, so that a token
	// goes to no other API.
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

// secret reads the client secret from its file; without the flag the client is a
// public one. A secret is never a flag, because other users of the machine can
// see arguments.
func (l *login) secret() (string, error) {
	if l.secretFile == "" {
		return "", nil
	}
	text, err := os.ReadFile(l.secretFile)
	return strings.TrimSpace(string(text)), err
}
