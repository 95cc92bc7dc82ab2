package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/adminapi"
	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// The command that shows one grant in full, for example to find out why a
// device is no longer connected.

// showCommand returns `device-auth grants show <id>`.
func showCommand(c *adminClient) *cobra.Command {
	claims := false
	cmd := &cobra.Command{
		Use: "show <id>", Short: "Shows a grant; an id that begins with a dash comes after --",
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return c.showGrant(args[0], claims) },
	}
	cmd.Flags().BoolVar(&claims, "claims", false, "Show all claims that are kept of the person")
	return cmd
}

// showGrant prints one grant, with a line for each member that has a value.
// The claims of its person are personal data, and are requested only with
// --claims.
func (c *adminClient) showGrant(id string, claims bool) error {
	var g adminapi.Grant
	route := "grants/" + url.PathEscape(id)
	if claims {
		route += "?claims=all"
	}
	if err := c.call(http.MethodGet, route, &g); err != nil || c.json {
		return err
	}
	var p adminapi.Person
	if g.Person != nil {
		p = *g.Person
	}
	// The names follow those of the JSON members.
	table := tabwriter.NewWriter(c.out, 0, 8, 2, ' ', 0)
	// Empty members are omitted, since most grants lack half of them.
	for _, line := range [][2]string{
		{"grant", g.ID.String()}, {"state", string(g.State)}, {"reason", g.Reason}, {"client", g.Client},
		{"person", p.Subject}, {"user", p.User}, {"name", p.Name}, {"email", p.Email},
		{"scope", string(g.Scope)}, {"audience", strings.Join(g.Audience, " ")},
		{"from", origin(g)}, {"code ended in", g.CodeTail}, {"device name", g.Name}, {"calls itself", g.Label},
		{"created", localTime(g.Created)}, {"decided", localTime(g.Decided)}, {"redeemed", localTime(g.Redeemed)},
		{"last used", localTime(g.Used)}, {"expires", localTime(g.Expires)}, {"ended", localTime(g.Ended)},
	} {
		// Names and labels come from people and devices, so control characters
		// are removed from all values.
		if line[1] != "" {
			fmt.Fprintf(table, "%s\t%s\n", line[0], text.Plain(line[1]))
		}
	}
	// A claim may be any JSON value, and is printed as JSON.
	for _, name := range slices.Sorted(maps.Keys(p.Claims)) {
		value, err := json.Marshal(p.Claims[name])
		if err != nil {
			return err
		}
		fmt.Fprintf(table, "claim %s\t%s\n", text.Plain(name), text.Plain(string(value)))
	}
	return table.Flush()
}
