package cli

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/adminapi"
	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// Commands for clients, and for the pause of the device login.

// clientsCommand returns `device-auth clients`, and its subcommand list, which
// does the same.
func clientsCommand(c *adminClient) *cobra.Command {
	list := func(*cobra.Command, []string) error { return c.listClients() }
	cmd := &cobra.Command{Use: "clients", Short: "The kinds of devices that may ask", Args: cobra.NoArgs, RunE: list}
	cmd.AddCommand(
		&cobra.Command{Use: "list", Short: "Lists the clients", Args: cobra.NoArgs, RunE: list},
		&cobra.Command{
			Use: "approve <client_id>", Short: "Vouches for a client that introduced itself", Args: cobra.ExactArgs(1),
			RunE: func(_ *cobra.Command, args []string) error {
				return c.changeClient(http.MethodPost, "clients/approve", args[0])
			},
		},
		&cobra.Command{
			Use: "remove <client_id>", Short: "Removes a client that introduced itself, and ends its grants",
			Args: cobra.ExactArgs(1),
			RunE: func(_ *cobra.Command, args []string) error {
				return c.changeClient(http.MethodDelete, "clients", args[0])
			},
		},
	)
	return cmd
}

// changeClient approves or removes a client.
func (c *adminClient) changeClient(method, route, id string) error {
	var changed adminapi.ClientChange
	route += "?" + url.Values{"client": {id}, "by": {operator()}}.Encode()
	if err := c.call(method, route, &changed); err != nil || c.json {
		return err
	}
	format := "People are no longer told that nobody has checked %s.\n"
	if changed.Removed {
		format = "%s is removed, and its grants have ended.\n"
	}
	_, err := fmt.Fprintf(c.out, format, text.Plain(id))
	return err
}

// listClients prints the clients without their secrets.
func (c *adminClient) listClients() error {
	var list []adminapi.Client
	if err := c.call(http.MethodGet, "clients", &list); err != nil || c.json {
		return err
	}
	table := tabwriter.NewWriter(c.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "CLIENT\tNAME\tMAKER\tKIND\tSCOPES")
	for _, v := range list {
		// A client without a secret is public (RFC 6749 §2.1).
		kind := "confidential"
		if v.Public {
			kind = "public"
		}
		// For a client that introduced itself, the operator must know whether
		// it has been checked.
		switch i := v.Introduced; {
		case i == nil:
		case i.Approved:
			kind += ", approved"
		default:
			kind += ", not checked"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n",
			v.ID, text.Plain(v.Name), text.Plain(v.Maker), kind, strings.Join(v.Scopes, " "))
	}
	return table.Flush()
}

// pauseCommands returns the commands pause, resume and paused. The server
// records who paused and why, for other operators.
func pauseCommands(c *adminClient) []*cobra.Command {
	note := ""
	pause := &cobra.Command{
		Use: "pause", Short: "Stops connecting devices; what is connected goes on", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return c.pause(http.MethodPost, "pause?"+url.Values{"note": {note}, "by": {operator()}}.Encode())
		},
	}
	pause.Flags().StringVar(&note, "note", "", "Why, for other operators; no device and no person is told")
	resume := &cobra.Command{
		Use: "resume", Short: "Connects devices again", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return c.pause(http.MethodPost, "resume?"+url.Values{"by": {operator()}}.Encode())
		},
	}
	paused := &cobra.Command{
		Use: "paused", Short: "Says whether connecting devices is paused", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return c.pause(http.MethodGet, "paused") },
	}
	return []*cobra.Command{pause, resume, paused}
}

// pause calls a route of the admin endpoint, and prints the pause in its
// response.
func (c *adminClient) pause(method, route string) error {
	var p adminapi.Pause
	if err := c.call(method, route, &p); err != nil || c.json {
		return err
	}
	// The most important information, whether devices can be connected, is a
	// sentence.
	if !p.Paused {
		fmt.Fprintln(c.out, "Devices can be connected.")
		return nil
	}
	// Who paused and why are optional: an older gateway or another client of
	// the admin endpoint may have omitted them.
	fmt.Fprintf(c.out, "Connecting devices is paused since %s", localTime(p.Since))
	if p.By != "" {
		fmt.Fprintf(c.out, ", by %s", text.Plain(p.By))
	}
	if p.Note != "" {
		fmt.Fprintf(c.out, ": %s", text.Plain(p.Note))
	}
	fmt.Fprintln(c.out)
	return nil
}

// operator returns the user and the host of this process, as information for
// other operators. It proves nothing: the admin endpoint has other means of
// authentication.
func operator() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}
