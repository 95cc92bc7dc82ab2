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

// Exit codes of device-login.
const (
	exitDenied      = 3
	exitExpired     = 4
	exitInteraction = 5
	exitInterrupted = 130 // as shells have it: 128 and SIGINT
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:      "device-login",
		Usage:     "<url> [--output header|token|json|curl] [--new|--no-keep|--non-interactive] | logout <url>",
		Short:     "Signs this terminal in at an API behind device login",
		Long:      loginHelp,
		CobraFunc: loginCommand,
	})
}

const loginHelp = `
Plays the device in a terminal: finds the authorization server from the API's
own URL, prints an address, a code and a QR code to standard error, waits until
a person has answered, and prints the result to standard output:

	curl -H "$(caddy device-login https://api.example.com/)" https://api.example.com/products

The token is kept in the user's configuration directory. The next call prints
it while it is good for at least a minute, refreshes it after that, and asks a
person only when the server refuses the refresh. --new asks anyway and replaces
what is kept; --no-keep neither reads nor writes it. --non-interactive asks
nobody, for scripts. --valid-for says how long it must be good, for what takes
longer than a minute. --open opens the address in a browser of this computer.

A token is kept for the API that it was asked for. With --issuer it is kept for
all APIs that name this issuer, which you trust with that:

	caddy device-login --issuer https://connect.example.com https://api.example.com/

The person who is asked sees the host name of this computer, as what it calls
itself; --device-name says something else, or with "" nothing.

	caddy device-login logout https://api.example.com/

revokes the token and deletes it. --client, --scope and --audience say which
one, where there are several.

The output is one of these:

	-o header   an Authorization header, the default:
	            curl -H "$(caddy device-login $URL)" $URL
	-o token    the access token alone:
	            export API_TOKEN=$(caddy device-login -o token $URL)
	-o json     the token response, with the seconds that are left:
	            caddy device-login -o json $URL | jq .expires_in
	-o curl     a line of a curl configuration. Other users of the machine can
	            see arguments, but not this:
	            caddy device-login -o curl $URL | curl -K - $URL

It exits with 0 when it was allowed, 1 when something went wrong, 3 when the
person denied, 4 when nobody answered in time, 5 when a person has to be asked
and --non-interactive is there, and 130 when it was interrupted:

	caddy device-login $URL >header || case $? in 3) echo no;; 4) echo late;; esac

A logout exits with 0 also when nobody was logged in, and with 1 when the
server could not be reached; the token is kept then.`

func loginCommand(cmd *cobra.Command) {
	l := &login{out: os.Stdout, err: os.Stderr}
	cmd.Args = l.args
	both := cmd.PersistentFlags()
	both.StringVarP(&l.client, "client", "c", "device-login", "The client_id to use")
	both.StringVar(&l.secretFile, "client-secret-file", "", "File with the secret of a confidential client")
	both.StringVarP(&l.scope, "scope", "s", "", "Scopes to ask for, separated by spaces (default: what the client has)")
	both.StringVar(&l.audience, "audience", "", "The API that the token is for (default: what the API calls itself, else the server's)")
	both.StringVar(&l.ca, "ca", "", "A PEM file with certificates to trust beside the system's")
	both.StringVar(&l.issuer, "issuer", "", "The server to trust with all APIs that name it; the URL of an API may then be left out")
	flags := cmd.Flags()
	flags.StringVarP(&l.output, "output", "o", "header", "What to print: header, token, json or curl")
	flags.BoolVar(&l.noQR, "no-qr", false, "Print no QR code; there is none where standard error is no terminal")
	flags.BoolVar(&l.anew, "new", false, "Ask a person anew, and replace the token that is kept")
	flags.BoolVar(&l.noKeep, "no-keep", false, "Neither use the token that is kept nor keep this one")
	flags.BoolVar(&l.unattended, "non-interactive", false, "Ask nobody: use the token that is kept, or fail")
	flags.BoolVar(&l.open, "open", false, "Open the address in a browser of this computer")
	flags.DurationVar(&l.validFor, "valid-for", time.Minute, "Refresh a kept token that is good for less than that")
	flags.DurationVar(&l.timeout, "timeout", 0, "How long to wait, such as 2m (default: as long as the code is good)")
	flags.StringVar(&l.deviceName, "device-name", "", `What to call this device to the person who is asked; "" is nothing (default: the host name)`)
	cmd.MarkFlagsMutuallyExclusive("non-interactive", "new")
	cmd.MarkFlagsMutuallyExclusive("non-interactive", "no-keep")
	cmd.RunE = l.command(func(ctx context.Context, address string) error {
		if !flags.Changed("device-name") {
			l.deviceName = hostName()
		}
		return l.run(ctx, address)
	})
	cmd.AddCommand(&cobra.Command{
		Use: "logout <url>", Short: "Revokes the token that is kept, and deletes it", Args: l.args, RunE: l.command(l.logout),
	})
}

// login is one run of device-login.
type login struct {
	client, secretFile, scope, audience, issuer, ca, output, deviceName string

	noQR, anew, noKeep, unattended, open bool

	timeout   time.Duration // 0: none
	validFor  time.Duration // of a kept token
	connected bool          // a person said yes
	out, err  io.Writer
}

// args wants the URL of an API, or of a server instead.
func (l *login) args(_ *cobra.Command, args []string) error {
	if len(args) > 1 || len(args) == 0 && l.issuer == "" {
		return errors.New("want one URL, of the API or its server")
	}
	return nil
}

// command runs until it is done or interrupted.
func (l *login) command(run func(context.Context, string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		defer stop()
		address := l.issuer
		if len(args) > 0 {
			address = args[0]
		}
		err := run(ctx, address)
		if err != nil && ctx.Err() != nil {
			err = errInterrupted
		}
		return l.end(cmd, err)
	}
}

func (l *login) run(ctx context.Context, address string) error {
	spell, ok := spellings[l.output]
	if !ok {
		return fmt.Errorf("--output %q: want header, token, json or curl", l.output)
	}
	token, err := l.inTime(ctx, address)
	if err != nil {
		return err
	}
	if l.connected {
		fmt.Fprintln(l.err, l.welcome(token))
	}
	text, err := spell(token)
	if err == nil {
		_, err = fmt.Fprintln(l.out, text)
	}
	return err
}

// inTime finds the server and has the token, before --timeout is over.
func (l *login) inTime(ctx context.Context, address string) (*oauth2.Token, error) {
	if l.timeout < 0 {
		return nil, fmt.Errorf("--timeout %v: want a length of time such as 2m", l.timeout)
	}
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

// token is the kept one or a new one.
func (l *login) token(ctx context.Context, server deviceclient.Server, options deviceclient.Options) (*oauth2.Token, error) {
	if l.noKeep {
		return deviceclient.Login(ctx, server, options)
	}
	folder, err := deviceclient.UserFolder()
	if err != nil {
		return nil, fmt.Errorf("%w; --no-keep does without", err)
	}
	keep := folder.Token
	if l.anew {
		keep = folder.Anew
	}
	token, err := keep(ctx, server, options)
	if errors.Is(err, errors.ErrUnsupported) {
		err = fmt.Errorf("%w; --no-keep does without", err)
	}
	return token, err
}

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

// find finds the server, and says who asks it and for what.
func (l *login) find(ctx context.Context, address string) (deviceclient.Server, deviceclient.Options, error) {
	secret, err := l.secret()
	if err != nil {
		return deviceclient.Server{}, deviceclient.Options{}, err
	}
	client, err := httpclient.New(l.ca, 30*time.Second)
	if err != nil {
		return deviceclient.Server{}, deviceclient.Options{}, err
	}
	options := deviceclient.Options{
		HTTP: client, ClientID: l.client, ClientSecret: secret, Scopes: strings.Fields(l.scope), Audience: l.audience,
		DeviceName: l.deviceName, Unattended: l.unattended, ValidFor: l.validFor,
		Show: l.show, Connected: func() { l.connected = true }, Note: func(text string) { fmt.Fprintln(l.err, text) },
	}
	if l.issuer != "" {
		server, err := deviceclient.DiscoverOf(ctx, client, l.issuer, address)
		return server, options, err
	}
	server, err := deviceclient.Discover(ctx, client, address)
	return server, options, err
}

func (l *login) secret() (string, error) {
	if l.secretFile == "" {
		return "", nil
	}
	text, err := os.ReadFile(l.secretFile)
	return strings.TrimSpace(string(text)), err
}
