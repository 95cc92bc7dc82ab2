package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
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
		Usage: "<url> [--client <id>] [--scope <scopes>] [--output header|token|json]",
		Short: "Signs this terminal in at an API behind device login",
		Long: `
Plays the device in a terminal: finds the authorization server from the API's
own URL, prints an address, a code and a QR code to standard error, waits until
a person has answered, and prints the result to standard output:

	curl -H "$(caddy device-login https://api.example.com/)" https://api.example.com/products

The output is an Authorization header (the default), the access token alone,
or the token response as JSON.

It exits with 0 when it was allowed, 1 when something went wrong, 3 when the
person denied, and 4 when nobody answered in time.`,
		CobraFunc: func(cmd *cobra.Command) {
			l := new(login)
			cmd.Args = cobra.ExactArgs(1)
			cmd.Flags().StringVarP(&l.client, "client", "c", "device-login", "The client_id to use")
			cmd.Flags().StringVar(&l.secretFile, "client-secret-file", "", "File with the secret of a confidential client")
			cmd.Flags().StringVarP(&l.scope, "scope", "s", "", "Scopes to ask for, separated by spaces (default: what the client has)")
			cmd.Flags().StringVar(&l.audience, "audience", "", "The API that the token is for (default: the server's)")
			cmd.Flags().StringVarP(&l.output, "output", "o", "header", "What to print: header, token or json")
			cmd.Flags().BoolVar(&l.noQR, "no-qr", false, "Print no QR code")
			cmd.RunE = caddycmd.WrapCommandFuncForCobra(func(fl caddycmd.Flags) (int, error) {
				ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
				defer stop()
				l.out, l.err = os.Stdout, os.Stderr
				err := l.run(ctx, fl.Arg(0))
				return exitCode(err), err
			})
		},
	})
}

// login is one run of device-login.
type login struct {
	client, secretFile, scope, audience, output string
	noQR                                        bool
	out, err                                    io.Writer
}

func (l *login) run(ctx context.Context, address string) error {
	if l.output != "header" && l.output != "token" && l.output != "json" {
		return fmt.Errorf("--output %q: want header, token or json", l.output)
	}
	secret, err := l.secret()
	if err != nil {
		return err
	}
	client := &http.Client{Timeout: 30 * time.Second}
	server, err := deviceclient.Discover(ctx, client, address)
	if err != nil {
		return err
	}
	token, err := deviceclient.Login(ctx, server, deviceclient.Options{
		HTTP: client, ClientID: l.client, ClientSecret: secret, Scopes: strings.Fields(l.scope), Audience: l.audience, Show: l.show,
	})
	if err != nil {
		return err
	}
	text, err := l.spell(token)
	if err == nil {
		_, err = fmt.Fprintln(l.out, text)
	}
	return err
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
	fmt.Fprintf(l.err, "\nOpen   %s\nType   %s\n\n", p.Address, p.Code)
	if !l.noQR && p.Complete != "" {
		deviceclient.QR(l.err, p.Complete)
		fmt.Fprintln(l.err)
	}
	fmt.Fprintln(l.err, "Waiting for your answer…")
}

func (l *login) spell(t *oauth2.Token) (string, error) {
	switch l.output {
	case "token":
		return t.AccessToken, nil
	case "header":
		return "Authorization: Bearer " + t.AccessToken, nil
	}
	response := map[string]any{"access_token": t.AccessToken, "token_type": t.TokenType, "expires_in": t.ExpiresIn}
	for _, name := range []string{"refresh_token", "id_token", "scope"} {
		if value := t.Extra(name); value != nil {
			response[name] = value
		}
	}
	text, err := json.MarshalIndent(response, "", "  ")
	return string(text), err
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
