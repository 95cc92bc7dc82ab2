package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"golang.org/x/oauth2"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/deviceclient"
)

// Exit codes of device-login.
const (
	exitDenied  = 3
	exitExpired = 4
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "device-login",
		Usage: "<url> [--output header|token|json|curl] [--new|--no-keep] | logout <url>",
		Short: "Signs this terminal in at an API behind device login",
		Long: `
Plays the device in a terminal: finds the authorization server from the API's
own URL, prints an address, a code and a QR code to standard error, waits until
a person has answered, and prints the result to standard output:

	curl -H "$(caddy device-login https://api.example.com/)" https://api.example.com/products

The token is kept in the user's configuration directory. The next call prints
it while it is good for at least a minute, refreshes it after that, and asks a
person only when the server refuses the refresh. --new asks anyway and replaces
what is kept; --no-keep neither reads nor writes it.

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
person denied, and 4 when nobody answered in time:

	caddy device-login $URL >header || case $? in 3) echo no;; 4) echo late;; esac

A logout exits with 0 also when nobody was logged in, and with 1 when the
server could not be reached; the token is kept then.`,
		CobraFunc: loginCommand,
	})
}

func loginCommand(cmd *cobra.Command) {
	l := &login{out: os.Stdout, err: os.Stderr}
	cmd.Args = cobra.ExactArgs(1)
	both := cmd.PersistentFlags()
	both.StringVarP(&l.client, "client", "c", "device-login", "The client_id to use")
	both.StringVar(&l.secretFile, "client-secret-file", "", "File with the secret of a confidential client")
	both.StringVarP(&l.scope, "scope", "s", "", "Scopes to ask for, separated by spaces (default: what the client has)")
	both.StringVar(&l.audience, "audience", "", "The API that the token is for (default: the server's)")
	both.StringVar(&l.ca, "ca", "", "A PEM file with certificates to trust beside the system's")
	cmd.Flags().StringVarP(&l.output, "output", "o", "header", "What to print: header, token, json or curl")
	cmd.Flags().BoolVar(&l.noQR, "no-qr", false, "Print no QR code")
	cmd.Flags().BoolVar(&l.anew, "new", false, "Ask a person anew, and replace the token that is kept")
	cmd.Flags().BoolVar(&l.noKeep, "no-keep", false, "Neither use the token that is kept nor keep this one")
	cmd.RunE = l.command(l.run)
	cmd.AddCommand(&cobra.Command{
		Use: "logout <url>", Short: "Revokes the token that is kept, and deletes it", Args: cobra.ExactArgs(1), RunE: l.command(l.logout),
	})
}

// login is one run of device-login.
type login struct {
	client, secretFile, scope, audience, output string
	ca                                          string
	noQR, anew, noKeep                          bool
	out, err                                    io.Writer
}

// command runs until it is done or interrupted.
func (l *login) command(run func(context.Context, string) error) func(*cobra.Command, []string) error {
	return caddycmd.WrapCommandFuncForCobra(func(fl caddycmd.Flags) (int, error) {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		defer stop()
		err := run(ctx, fl.Arg(0))
		return exitCode(err), err
	})
}

func (l *login) run(ctx context.Context, address string) error {
	spell, ok := spellings[l.output]
	if !ok {
		return fmt.Errorf("--output %q: want header, token, json or curl", l.output)
	}
	server, options, err := l.find(ctx, address)
	if err != nil {
		return err
	}
	token, err := l.token(ctx, server, options)
	if err != nil {
		return err
	}
	text, err := spell(token)
	if err == nil {
		_, err = fmt.Fprintln(l.out, text)
	}
	return err
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
	client, err := clientWith(l.ca, 30*time.Second)
	if err != nil {
		return deviceclient.Server{}, deviceclient.Options{}, err
	}
	server, err := deviceclient.Discover(ctx, client, address)
	return server, deviceclient.Options{
		HTTP: client, ClientID: l.client, ClientSecret: secret, Scopes: strings.Fields(l.scope), Audience: l.audience,
		Show: l.show, Note: func(text string) { fmt.Fprintln(l.err, text) },
	}, err
}

func (l *login) secret() (string, error) {
	if l.secretFile == "" {
		return "", nil
	}
	text, err := os.ReadFile(l.secretFile)
	return strings.TrimSpace(string(text)), err
}

// show tells the person what to do. A QR code that cannot be drawn is no loss.
func (l *login) show(p deviceclient.Prompt) {
	if p.Warning != "" {
		fmt.Fprintf(l.err, "\n%s\n", p.Warning)
	}
	fmt.Fprintf(l.err, "\nOpen   %s\nType   %s\n\n", p.Address, p.Code)
	if !l.noQR && p.Complete != "" {
		deviceclient.QR(l.err, p.Complete)
		fmt.Fprintln(l.err)
	}
	fmt.Fprintln(l.err, "Waiting for your answer…")
}

func exitCode(err error) int {
	switch {
	case err == nil:
		return caddy.ExitCodeSuccess
	case errors.Is(err, deviceclient.ErrDenied):
		return exitDenied
	case errors.Is(err, deviceclient.ErrExpired):
		return exitExpired
	}
	return caddy.ExitCodeFailedStartup
}
