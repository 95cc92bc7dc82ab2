package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/adminapi"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/keyring"
)

// The command is registered with Caddy's own command line, so that every
// binary with this module has it.
func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name: "device-auth",
		Usage: "health | grants [list|show|revoke] | revoke | clients [list|approve|remove] | " +
			"pause | resume | paused | keys [list|rotate] | backup <file> | restore <file> | rekey | check <url>",
		Short:     "Looks after the device login of a running Caddy",
		Long:      deviceAuthHelp,
		CobraFunc: deviceAuth,
	})
}

// deviceAuthHelp is the help of device-auth, with a paragraph for each kind of
// command: those that use the admin endpoint, those that open a store, and the
// check from outside.
const deviceAuthHelp = `
Talks to the admin endpoint of a running Caddy with a device_login:

	caddy device-auth health        exits with 0 where the device login works, and
	                                with 1 and the reason otherwise: for the
	                                HEALTHCHECK of a container
	caddy device-auth grants list   shows who asks, is connected, or was; of one
	                                --client, --person or --state, or --all
	caddy device-auth grants show ID
	                                shows all there is to see of one; with --claims
	                                also what is kept of its person
	caddy device-auth grants revoke ID...
	                                ends them; with --person or --client all of
	                                theirs, after asking unless --yes is there;
	                                a --person is signed out of the pages, too.
	                                Also as device-auth revoke
	caddy device-auth clients list  shows the clients, without their secrets
	caddy device-auth clients approve ID
	                                vouches for a client that introduced itself:
	                                people are no longer told that nobody has
	                                checked it
	caddy device-auth clients remove ID
	                                removes such a client, and ends its grants
	caddy device-auth pause         stops connecting devices, and says so to them
	                                and to people; what is connected goes on.
	                                --note says why, to other operators
	caddy device-auth resume        connects them again
	caddy device-auth paused        says which of the two is the case
	caddy device-auth keys list     shows the signing keys
	caddy device-auth keys rotate   begins a new signing key now; it signs when
	                                it has been published for ten minutes
	caddy device-auth backup FILE   writes what a badger store holds to a new file,
	                                or to standard output for -; it is as secret
	                                as the signing keys in it

The admin endpoint is the one that the configuration names: of --config, or of
a Caddyfile in the current directory.

And without a running Caddy, to the badger store of the configuration:

	caddy device-auth restore FILE  makes a new store of a backup, or of standard
	                                input for -. Every device must be connected
	                                anew, unless --keep-grants says that none was
	                                cut off since the backup
	caddy device-auth rekey         changes the encryption key from that of the
	                                configuration to that of --new-key-file

And from outside, of any deployment:

	caddy device-auth check URL     says what is wrong with it, and how to mend
	                                it; URL is a guarded API's, or the issuer`

// deviceAuth adds the subcommands to the command that Caddy created.
func deviceAuth(cmd *cobra.Command) { deviceAuthTo(cmd, os.Stdout) }

// deviceAuthTo is deviceAuth with the writer for results, which tests replace.
// Progress, questions and warnings go to standard error, so that results can
// be piped.
func deviceAuthTo(cmd *cobra.Command, out io.Writer) {
	c := &adminClient{out: out}
	cmd.PersistentFlags().StringVar(&c.address, "address", "",
		"The address of the admin endpoint (default: the one that the configuration names)")
	cmd.PersistentFlags().StringVarP(&c.config, "config", "c", "",
		"The configuration file (default: ./Caddyfile, if it is there)")
	cmd.PersistentFlags().StringVarP(&c.adapter, "adapter", "a", "", "The name of the config adapter")
	cmd.PersistentFlags().BoolVar(&c.json, "json", false, "Print JSON")
	list, rotate := c.keys(http.MethodGet, "keys"), c.keys(http.MethodPost, "keys/rotate")
	keys := &cobra.Command{Use: "keys", Short: "The signing keys", Args: cobra.NoArgs, RunE: list}
	keys.AddCommand(
		&cobra.Command{Use: "list", Short: "Shows the signing keys", Args: cobra.NoArgs, RunE: list},
		&cobra.Command{Use: "rotate", Short: "Begins a new signing key", Args: cobra.NoArgs, RunE: rotate},
	)
	// `revoke` is a command and also a subcommand of `grants`; each has its
	// own filter, since both would otherwise set the same flags.
	w := &grantFilter{}
	revoke := revokeCommand(c, w)
	w.flags(revoke.Flags())
	// The order follows the help: commands for grants, for the pause, and for
	// keys and stores.
	cmd.AddCommand(healthCommand(c), grantsCommand(c), revoke, clientsCommand(c))
	cmd.AddCommand(pauseCommands(c)...)
	cmd.AddCommand(keys, backupCommand(c), restoreCommand(c), rekeyCommand(c), checkCommand(c))
	// The command itself runs only for a mistyped subcommand, or for none.
	cmd.RunE = unknownCommand
}

// unknownCommand returns an error for a mistyped subcommand. Cobra would print
// the help and exit with 0, which a script takes for success.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	var known []string
	for _, c := range cmd.Commands() {
		known = append(known, c.Name())
	}
	return fmt.Errorf("there is no %s %s; want one of: %s", cmd.CommandPath(), args[0], strings.Join(known, ", "))
}

// An adminClient is one run of device-auth, with the flags that all
// subcommands share.
type adminClient struct {
	address, config, adapter string // the flags with these names
	json                     bool   // print the response unchanged
	out                      io.Writer
}

// keys returns a command that prints the signing keys in the response of a
// route: the list, which is also the response to a rotation.
func (c *adminClient) keys(method, route string) func(*cobra.Command, []string) error {
	return func(*cobra.Command, []string) error {
		var list []keyring.Key
		if err := c.call(method, route, &list); err != nil || c.json {
			return err
		}
		// Columns are aligned with spaces, which all terminals display alike.
		table := tabwriter.NewWriter(c.out, 0, 8, 2, ' ', 0)
		fmt.Fprintln(table, "KEY\tALGORITHM\tSTATE\tSIGNS FROM")
		for _, k := range list {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", k.ID, k.Algorithm, k.State, k.From.Local().Format(time.DateTime))
		}
		return table.Flush()
	}
}

// ask sends a request to the admin endpoint. Caddy's client also supports unix
// sockets, and returns an error for any status but 200.
func (c *adminClient) ask(method, route string) (*http.Response, error) {
	// The address is found at each request, so that a command that needs no
	// admin endpoint needs no configuration.
	address, err := c.endpoint()
	if err != nil {
		return nil, err
	}
	return caddycmd.AdminAPIRequest(address, method, adminapi.Path+route, nil, nil)
}

// call sends a request, and decodes the response into to. With --json it
// copies the response to the output instead, and does not set to.
func (c *adminClient) call(method, route string, to any) error {
	res, err := c.ask(method, route)
	if err != nil {
		return err
	}
	// The endpoint's JSON is copied unchanged: it is the documented format,
	// and scripts depend on it.
	defer res.Body.Close()
	if c.json {
		_, err := io.Copy(c.out, res.Body)
		return err
	}
	return json.NewDecoder(res.Body).Decode(to)
}
