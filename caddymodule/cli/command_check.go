package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/devicecheck"
	"github.com/deviceauth/caddy-deviceauth/internal/httpclient"
)

// The command that looks at a deployment from outside. It asks no admin
// endpoint: what it sees is what devices and people see.

const checkHelp = `
Looks at a deployment from outside, as devices, browsers and API clients do,
and says of each thing what is wrong and how to mend it. The URL is that of a
guarded API, or the issuer:

	caddy device-auth check https://api.example.com/v2/things
	caddy device-auth check --login https://api.example.com/v2/things

It leaves one code behind that nobody answers, which expires by itself, and
writes nothing else. It goes to each identity provider as far as its first
page, and types nothing there. --login goes all the way, with you, and revokes
what it was given.

It exits with 0 where nothing failed, and with 1 otherwise. A warning (!) is
no failure: it works, but not as it should.`

// check is one run of it.
type check struct {
	login
	origin string
	flow   bool
}

func checkCommand(a *adminClient) *cobra.Command {
	c := &check{login: login{err: os.Stderr}}
	cmd := &cobra.Command{Use: "check <url>", Short: "Looks at a deployment from outside, and says what is wrong", Long: checkHelp, Args: cobra.ExactArgs(1)}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		defer stop()
		if err := c.run(ctx, a, args[0]); ctx.Err() == nil {
			return err
		}
		return fail(cmd, c.err, exitInterrupted, errInterrupted.Error())
	}
	c.flags(cmd.Flags())
	return cmd
}

func (c *check) flags(to *pflag.FlagSet) {
	to.StringVar(&c.client, "client", "device-login", "The client_id to play the device with")
	to.StringVar(&c.secretFile, "client-secret-file", "", "File with the secret of a confidential client")
	to.StringVar(&c.scope, "scope", "", "Scopes to ask for, separated by spaces (default: what the client has)")
	to.StringVar(&c.audience, "audience", "", "The API that the token is for (default: what the API calls itself, else the server's)")
	to.StringVar(&c.ca, "ca", "", "A PEM file with certificates to trust beside the system's")
	to.StringVar(&c.origin, "origin", "", "The origin of a browser page that plays a device")
	to.BoolVar(&c.flow, "login", false, "Log in with a person, call the API, refresh and revoke")
}

func (c *check) run(ctx context.Context, a *adminClient, address string) error {
	secret, err := c.secret()
	if err != nil {
		return err
	}
	roots, err := httpclient.Roots(c.ca)
	if err != nil {
		return err
	}
	config := devicecheck.Config{
		Roots: roots,
		URL:   address, ClientID: c.client, ClientSecret: secret, Scopes: strings.Fields(c.scope), Audience: c.audience, Origin: strings.TrimSuffix(c.origin, "/"),
	}
	if c.flow {
		config.Login = c.show
	}
	lines := &checkLines{to: a.out}
	if !a.json {
		config.Tell = lines.print
	}
	all := devicecheck.Run(ctx, config)
	lines.flush()
	if a.json {
		e := json.NewEncoder(a.out)
		e.SetIndent("", "  ")
		if err := e.Encode(all); err != nil {
			return err
		}
	}
	return verdict(ctx, all)
}

// verdict is an error where something failed, or not all was asked.
func verdict(ctx context.Context, all []devicecheck.Result) error {
	count := map[devicecheck.Status]int{}
	for _, result := range all {
		count[result.Status]++
	}
	switch {
	case ctx.Err() != nil:
		return errInterrupted
	case count[devicecheck.Fail] > 0:
		return fmt.Errorf("%d of %d checks failed, %d warn", count[devicecheck.Fail], len(all)-count[devicecheck.Skipped], count[devicecheck.Warn])
	}
	return nil
}

// checkLines prints a line for each check as it ends. Neighbours that were
// skipped for one reason share a line.
type checkLines struct {
	to      io.Writer
	skipped []string
	why     string
}

var checkMarks = map[devicecheck.Status]string{devicecheck.Pass: "✓", devicecheck.Warn: "!", devicecheck.Fail: "✗", devicecheck.Skipped: "–"}

func (l *checkLines) print(r devicecheck.Result) {
	if r.Status == devicecheck.Skipped {
		if l.why != r.Detail {
			l.flush()
		}
		l.skipped, l.why = append(l.skipped, r.Name), r.Detail
		return
	}
	l.flush()
	l.line(r.Status, r.Name, r.Detail)
	if r.Remedy != "" {
		fmt.Fprintln(l.to, folded("    → ", "      ", r.Remedy))
	}
}

func (l *checkLines) flush() {
	if len(l.skipped) > 0 {
		l.line(devicecheck.Skipped, strings.Join(l.skipped, ", "), l.why)
		l.skipped, l.why = nil, ""
	}
}

func (l *checkLines) line(s devicecheck.Status, name, said string) {
	fmt.Fprintf(l.to, "%s %-18s  %s\n", checkMarks[s], name, said)
}

// folded breaks a text into lines that a terminal shows whole.
func folded(first, next, text string) string {
	const width = 96
	var lines []string
	line := first
	for word := range strings.FieldsSeq(text) {
		if len(line)+len(word) > width && line != first && line != next {
			lines = append(lines, strings.TrimRight(line, " "))
			line = next
		}
		line += word + " "
	}
	return strings.Join(append(lines, strings.TrimRight(line, " ")), "\n")
}
