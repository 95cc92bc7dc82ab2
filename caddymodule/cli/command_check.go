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

// The command check, which examines a deployment from outside. It uses neither
// the admin endpoint nor a configuration, but sees what devices, browsers and
// API clients see, so it works for any deployment.

// checkHelp is the help of check. It says what the check leaves behind,
// because it is used with production servers.
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

// A check is one run of the command. It shares the flags of a client and the
// prompt for the person with device-login.
type check struct {
	login
	origin string // of a browser page, for the check of CORS
	flow   bool   // --login: complete a whole login with a person
}

// checkCommand returns `device-auth check <url>`. After an interrupt it exits
// with the code that shells use for SIGINT.
func checkCommand(a *adminClient) *cobra.Command {
	c := &check{login: login{err: os.Stderr}}
	cmd := &cobra.Command{
		Use: "check <url>", Short: "Looks at a deployment from outside, and says what is wrong",
		Long: checkHelp, Args: cobra.ExactArgs(1),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		// An interrupt cancels the context, and with it the requests in
		// progress.
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

// flags adds the flags of the client that the check uses.
func (c *check) flags(to *pflag.FlagSet) {
	// The default client_id is the same as that of device-login.
	to.StringVar(&c.client, "client", "device-login", "The client_id to play the device with")
	to.StringVar(&c.secretFile, "client-secret-file", "", "File with the secret of a confidential client")
	to.StringVar(&c.scope, "scope", "", "Scopes to ask for, separated by spaces (default: what the client has)")
	to.StringVar(&c.audience, "audience", "",
		"The API that the token is for (default: what the API calls itself, else the server's)")
	to.StringVar(&c.ca, "ca", "", "A PEM file with certificates to trust beside the system's")
	to.StringVar(&c.origin, "origin", "", "The origin of a browser page that plays a device")
	to.BoolVar(&c.flow, "login", false, "Log in with a person, call the API, refresh and revoke")
}

// run runs the checks and prints each result as soon as it is known. With
// --json it prints all of them at the end, since a JSON list must be complete.
func (c *check) run(ctx context.Context, a *adminClient, address string) error {
	// The secret and the CA file are read before the first request, because
	// their errors are the caller's.
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
		URL:   address, ClientID: c.client, ClientSecret: secret, Scopes: strings.Fields(c.scope),
		Audience: c.audience, Origin: strings.TrimSuffix(c.origin, "/"),
	}
	// Without --login no person is needed, and the check can be run by a
	// timer.
	if c.flow {
		config.Login = c.show
	}
	lines := &checkLines{to: a.out}
	// With --json only the list may be printed.
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

// verdict returns an error if a check failed, or if the run was interrupted
// before all checks. Warnings are no error.
func verdict(ctx context.Context, all []devicecheck.Result) error {
	count := map[devicecheck.Status]int{}
	for _, result := range all {
		count[result.Status]++
	}
	switch {
	// An interrupted run has no result for the remaining checks.
	case ctx.Err() != nil:
		return errInterrupted
	case count[devicecheck.Fail] > 0:
		return fmt.Errorf("%d of %d checks failed, %d warn",
			count[devicecheck.Fail], len(all)-count[devicecheck.Skipped], count[devicecheck.Warn])
	}
	return nil
}

// checkLines prints a line for each check. Consecutive checks that were
// skipped for the same reason share a line: otherwise a server that is down
// would fill the screen.
type checkLines struct {
	to      io.Writer
	skipped []string // skipped checks that are not printed yet
	why     string   // their common reason
}

// checkMarks are the first characters of a line, by the status of the check.
var checkMarks = map[devicecheck.Status]string{
	devicecheck.Pass: "✓", devicecheck.Warn: "!", devicecheck.Fail: "✗", devicecheck.Skipped: "–",
}

// print prints the result of a check, with the remedy below it. A skipped
// check is withheld until one follows that does not share its line.
func (l *checkLines) print(r devicecheck.Result) {
	// Names are collected as long as the reason is the same.
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

// flush prints the skipped checks that were withheld.
func (l *checkLines) flush() {
	if len(l.skipped) > 0 {
		l.line(devicecheck.Skipped, strings.Join(l.skipped, ", "), l.why)
		l.skipped, l.why = nil, ""
	}
}

// line prints one line: mark, names and detail, in columns.
func (l *checkLines) line(s devicecheck.Status, name, text string) {
	fmt.Fprintf(l.to, "%s %-18s  %s\n", checkMarks[s], name, text)
}

// folded breaks a text at spaces into lines of at most 96 bytes; first is the
// prefix of the first line, and next that of the others.
func folded(first, next, text string) string {
	const width = 96
	var lines []string
	line := first
	// A word that is longer than a line gets its own line, and is not broken:
	// it may be a URL.
	for word := range strings.FieldsSeq(text) {
		if len(line)+len(word) > width && line != first && line != next {
			lines = append(lines, strings.TrimRight(line, " "))
			line = next
		}
		line += word + " "
	}
	return strings.Join(append(lines, strings.TrimRight(line, " ")), "\n")
}
