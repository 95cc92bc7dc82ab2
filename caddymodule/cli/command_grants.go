package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/adminapi"
	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// Commands that list grants.

// A grantFilter is the selection by a command's flags.
type grantFilter struct {
	client, person, state string
	limit                 int  // of grants to list
	all, yes              bool // list all grants; end them without a question
}

// flags adds the flags that list and revoke share.
func (w *grantFilter) flags(to *pflag.FlagSet) {
	to.StringVar(&w.client, "client", "", "Only grants of this client")
	to.StringVar(&w.person, "person", "", "Only grants of this person: a subject, or a user")
	to.StringVar(&w.state, "state", "",
		"Only grants that are: pending, approved, connected, denied, revoked, expired, live or ended")
}

// grantsCommand returns `device-auth grants`, which lists grants if it is
// called without a subcommand.
func grantsCommand(c *adminClient) *cobra.Command {
	w := &grantFilter{}
	run := func(*cobra.Command, []string) error { return c.listGrants(w) }
	cmd := &cobra.Command{
		Use: "grants", Short: "The grants: devices that ask, are connected, or were", Args: cobra.NoArgs, RunE: run,
	}
	list := &cobra.Command{Use: "list", Short: "Lists grants", Args: cobra.NoArgs, RunE: run}
	w.flags(cmd.PersistentFlags())
	// Only listing has a limit: a revocation ends all selected grants.
	for _, to := range []*pflag.FlagSet{cmd.Flags(), list.Flags()} {
		to.IntVar(&w.limit, "limit", adminapi.DefaultLimit, "How many to list")
		to.BoolVar(&w.all, "all", false, "List all of them, page by page")
	}
	cmd.AddCommand(
		list,
		showCommand(c),
		revokeCommand(c, w),
	)
	return cmd
}

// listGrants prints the grants page by page, and with --json one JSON document
// for each page: there may be millions of grants, which must not all be in
// memory.
func (c *adminClient) listGrants(w *grantFilter) error {
	if w.limit < 1 {
		return fmt.Errorf("--limit %d: want a number above 0", w.limit)
	}
	// The header of the table is printed once, with the first page that has
	// grants.
	head := true
	left, err := c.pages(w, func(page adminapi.Grants) error {
		if c.json {
			return json.NewEncoder(c.out).Encode(page)
		}
		err := printGrants(c.out, page.Grants, head)
		head = head && len(page.Grants) == 0
		return err
	})
	if err == nil && left {
		fmt.Fprintln(os.Stderr, "There may be more: see --limit and --all.")
	}
	return err
}

// pages requests pages until there are enough grants, and calls do for each. A
// page may have fewer grants than its limit although there are more, because
// the server filters after reading. left reports whether there may be more.
func (c *adminClient) pages(w *grantFilter, do func(adminapi.Grants) error) (left bool, err error) {
	// Pages are decoded even with --json, to find the next one.
	decoding := *c
	decoding.json = false
	for count, after := 0, ""; ; {
		// A page is not larger than the number of grants that are still
		// needed.
		limit := adminapi.MaxLimit
		if !w.all {
			limit = min(limit, w.limit-count)
		}
		asked := url.Values{"limit": {strconv.Itoa(limit)}}
		filters := map[string]string{"client": w.client, "person": w.person, "state": w.state, "after": after}
		for name, value := range filters {
			if value != "" {
				asked.Set(name, value)
			}
		}
		var page adminapi.Grants
		if err := decoding.call(http.MethodGet, "grants?"+asked.Encode(), &page); err != nil {
			return false, err
		}
		if err := do(page); err != nil {
			return false, err
		}
		// The cursor of the next page comes from the server, and is opaque.
		count, after = count+len(page.Grants), page.Next
		if after == "" || !w.all && count >= w.limit {
			return after != "", nil
		}
	}
}

// deviceName returns the name that a person gave the device, or else the name
// that the device gave itself, marked as such because anyone can choose it.
func deviceName(g adminapi.Grant) string {
	if g.Name == "" && g.Label != "" {
		return "calls itself " + strconv.Quote(text.Plain(g.Label))
	}
	return text.Plain(g.Name)
}

// origin returns the address of the device, with the location if it is known.
func origin(g adminapi.Grant) string {
	var parts []string
	if g.From.IsValid() {
		parts = append(parts, g.From.String())
	}
	if g.Place != "" {
		parts = append(parts, "("+text.Plain(g.Place)+")")
	}
	return strings.Join(parts, " ")
}

// printGrants prints a table of grants. Texts from people or devices are in
// the last column, without control characters, so that they cannot be mistaken
// for anything else.
func printGrants(to io.Writer, list []adminapi.Grant, head bool) error {
	table := tabwriter.NewWriter(to, 0, 8, 2, ' ', 0)
	if head {
		fmt.Fprintln(table, "GRANT\tSTATE\tCLIENT\tPERSON\tFROM\tCODE\tCREATED\tLAST USED\tNAME")
	}
	for _, g := range list {
		person, code := "", ""
		if g.Person != nil {
			person = text.Plain(cmp.Or(g.Person.User, g.Person.Subject))
		}
		if g.CodeTail != "" {
			code = "…" + g.CodeTail
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n",
			g.ID, g.State, g.Client, person, origin(g), code, localTime(g.Created), localTime(g.Used), deviceName(g))
	}
	return table.Flush()
}

// localTime formats a time in the time zone of this computer; a zero time is
// empty.
func localTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format(time.DateTime)
}
