package cli

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/adminapi"
	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// The commands that look at grants, and end them.

// grantFilter says which grants a command is about.
type grantFilter struct {
	client, person, state string
	limit                 int
	all, yes              bool
}

func (w *grantFilter) flags(to *pflag.FlagSet) {
	to.StringVar(&w.client, "client", "", "Only grants of this client")
	to.StringVar(&w.person, "person", "", "Only grants of this person: a subject, or a user")
	to.StringVar(&w.state, "state", "", "Only grants that are: pending, approved, connected, denied, revoked, expired, live or ended")
}

func grantsCommand(c *adminClient) *cobra.Command {
	w := &grantFilter{}
	run := func(*cobra.Command, []string) error { return c.listGrants(w) }
	cmd := &cobra.Command{Use: "grants", Short: "The grants: devices that ask, are connected, or were", Args: cobra.NoArgs, RunE: run}
	list := &cobra.Command{Use: "list", Short: "Lists grants", Args: cobra.NoArgs, RunE: run}
	w.flags(cmd.PersistentFlags())
	for _, to := range []*pflag.FlagSet{cmd.Flags(), list.Flags()} { // what is to end is all, or named
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

// revokeCommand stands by itself, too.
func revokeCommand(c *adminClient, w *grantFilter) *cobra.Command {
	cmd := &cobra.Command{Use: "revoke [<id>...]", Short: "Ends grants; an id that begins with a dash comes after --", RunE: func(_ *cobra.Command, ids []string) error {
		return c.revoke(w, ids)
	}}
	cmd.Flags().BoolVar(&w.yes, "yes", false, "Do not ask")
	return cmd
}

// listGrants prints page by page, with --json one document for each: there may
// be millions.
func (c *adminClient) listGrants(w *grantFilter) error {
	if w.limit < 1 {
		return fmt.Errorf("--limit %d: want a number above 0", w.limit)
	}
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

// pages asks until there are enough. A page of the admin endpoint may have less
// than was asked for, while there are more.
func (c *adminClient) pages(w *grantFilter, do func(adminapi.Grants) error) (left bool, err error) {
	decoding := *c
	decoding.json = false
	for count, after := 0, ""; ; {
		limit := adminapi.MaxLimit
		if !w.all {
			limit = min(limit, w.limit-count)
		}
		asked := url.Values{"limit": {strconv.Itoa(limit)}}
		for name, value := range map[string]string{"client": w.client, "person": w.person, "state": w.state, "after": after} {
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
		count, after = count+len(page.Grants), page.Next
		if after == "" || !w.all && count >= w.limit {
			return after != "", nil
		}
	}
}

// called is the name that a person gave the device, or else what it calls itself.
func called(g adminapi.Grant) string {
	if g.Name == "" && g.Label != "" {
		return "calls itself " + strconv.Quote(text.Plain(g.Label))
	}
	return text.Plain(g.Name)
}

// whence is where the device asked from, with the place beside the address.
func whence(g adminapi.Grant) string {
	var parts []string
	if g.From.IsValid() {
		parts = append(parts, g.From.String())
	}
	if g.Place != "" {
		parts = append(parts, "("+text.Plain(g.Place)+")")
	}
	return strings.Join(parts, " ")
}

// printGrants prints what people wrote at the end of a line, where it can be
// taken for nothing else.
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
			g.ID, g.State, g.Client, person, whence(g), code, when(g.Created), when(g.Used), called(g))
	}
	return table.Flush()
}

func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format(time.DateTime)
}

// revoke ends the grants with some ids, or all of a person's or client's.
func (c *adminClient) revoke(w *grantFilter, ids []string) error {
	many := w.client != "" || w.person != ""
	if many == (len(ids) > 0) {
		return errors.New("want ids of grants, or --person or --client for all of theirs")
	}
	if !many {
		return c.end(ids)
	}
	subjects, err := c.subjects(*w)
	if err != nil {
		return err
	}
	ids, err = c.find(*w)
	if err != nil {
		return err
	}
	if len(ids)+len(subjects) == 0 {
		if w.whole() && strings.Contains(w.person, "|") { // may be signed in all the same
			err = c.signOut([]string{w.person})
		}
		return errors.Join(err, errors.New("no such grant: is the person's subject or user, or the client's id, as grants list shows it?"))
	}
	err = c.signOut(subjects) // first: who is signed in could connect another one
	err = errors.Join(err, c.end(ids))
	w.yes = true // what was connected while somebody was asked ends, too
	later, laterErr := c.find(*w)
	later = slices.DeleteFunc(later, func(id string) bool { return slices.Contains(ids, id) })
	return errors.Join(err, laterErr, c.end(later))
}

// signOut ends the sessions of subjects at the pages.
func (c *adminClient) signOut(subjects []string) (all error) {
	for _, subject := range subjects {
		var v adminapi.Sessions
		err := c.call(http.MethodDelete, "sessions?"+url.Values{"person": {subject}, "by": {operator()}}.Encode(), &v)
		if err == nil && !c.json {
			fmt.Fprintln(c.out, text.Plain(v.Person), "signed out of the pages")
		}
		all = errors.Join(all, err)
	}
	return all
}

func (c *adminClient) end(ids []string) (all error) {
	for _, id := range ids {
		var g adminapi.Grant
		err := c.call(http.MethodDelete, "grants/"+url.PathEscape(id), &g)
		if err == nil && !c.json {
			fmt.Fprintln(c.out, g.ID, g.State)
		}
		all = errors.Join(all, err) // the others are to end all the same
	}
	return all
}

// whole reports whether a person is meant with all that is theirs.
func (w grantFilter) whole() bool { return w.person != "" && w.client == "" && w.state == "" }

// subjects are those of the person that is meant as a whole, who is signed out,
// too: all that were or had what was named, also in grants that have ended.
func (c *adminClient) subjects(w grantFilter) (found []string, err error) {
	if !w.whole() {
		return nil, nil
	}
	w.all = true
	_, err = c.pages(&w, func(page adminapi.Grants) error {
		for _, g := range page.Grants {
			if g.Person != nil && !slices.Contains(found, g.Person.Subject) {
				found = append(found, g.Person.Subject)
			}
		}
		return nil
	})
	return found, err
}

// find shows the grants that are to end, and asks.
func (c *adminClient) find(w grantFilter) (ids []string, err error) {
	whole := w.whole()
	w.all, w.state = true, cmp.Or(w.state, string(deviceauth.StandingLive))
	head := true
	_, err = c.pages(&w, func(page adminapi.Grants) error {
		for _, g := range page.Grants {
			ids = append(ids, g.ID.String())
		}
		err := printGrants(os.Stderr, page.Grants, head)
		head = head && len(page.Grants) == 0
		return err
	})
	if err != nil || len(ids) == 0 || w.yes {
		return ids, err
	}
	question := fmt.Sprintf("End %d grants?", len(ids))
	if whole {
		question = fmt.Sprintf("End %d grants, and the person's sessions at the pages?", len(ids))
	}
	return ids, confirm(question)
}

// confirm asks whoever sits at the terminal.
func confirm(question string) error {
	if info, err := os.Stdin.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return errors.New("nobody is there to be asked: want --yes")
	}
	fmt.Fprint(os.Stderr, question+" [y/N] ")
	answer, _ := bufio.NewReader(os.Stdin).ReadString('\n')
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		return errors.New("nothing was ended")
	}
	return nil
}
