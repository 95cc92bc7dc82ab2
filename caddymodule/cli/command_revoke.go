package cli

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/adminapi"
	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// Commands that end grants: those with some ids, or all of a person or a
// client, after a question.

// revokeCommand returns the command that ends grants, for `device-auth revoke`
// and `device-auth grants revoke`.
func revokeCommand(c *adminClient, w *grantFilter) *cobra.Command {
	cmd := &cobra.Command{
		Use: "revoke [<id>...]", Short: "Ends grants; an id that begins with a dash comes after --",
		RunE: func(cmd *cobra.Command, ids []string) error {
			if err := checkGiven(cmd, ids); err != nil {
				return err
			}
			return c.revoke(w, ids)
		},
	}
	cmd.Flags().BoolVar(&w.yes, "yes", false, "Do not ask")
	return cmd
}

// checkGiven refuses empty ids and filters: one from a variable that is not set would end
// other grants than intended.
func checkGiven(cmd *cobra.Command, ids []string) error {
	if slices.Contains(ids, "") {
		return errors.New("an id is empty")
	}
	for _, name := range []string{"client", "person"} {
		if f := cmd.Flag(name); f != nil && f.Changed && f.Value.String() == "" {
			return fmt.Errorf("--%s is empty", name)
		}
	}
	return nil
}

// revoke ends the grants with some ids, or all grants of a person or a client.
// If it selects a whole person, the sessions at the pages end, too. After an
// error it continues with the remaining grants; all errors are returned
// together.
func (c *adminClient) revoke(w *grantFilter, ids []string) error {
	// Ids and filters exclude each other: it would be unclear whether a grant
	// must satisfy both.
	many := w.client != "" || w.person != ""
	if many == (len(ids) > 0) {
		return errors.New("want ids of grants, or --person or --client for all of theirs")
	}
	if !many {
		return c.end(ids)
	}
	// The subjects are collected before anything ends, while the grants still
	// lead to them.
	subjects, err := c.subjects(*w)
	if err != nil {
		return err
	}
	ids, err = c.find(*w)
	if err != nil {
		return err
	}
	if len(ids)+len(subjects) == 0 {
		// A person without grants may still have a session at the pages.
		if w.isWholePerson() && strings.Contains(w.person, "|") {
			err = c.signOut([]string{w.person})
		}
		return errors.Join(err, errors.New("no such grant: "+
			"is the person's subject or user, or the client's id, as grants list shows it?"))
	}
	err = c.signOut(subjects) // first, because a signed-in person could connect another device
	err = errors.Join(err, c.end(ids))
	w.yes = true // also ends, without a question, devices that were connected during the question
	// A device that was connected after the list was created would otherwise
	// stay connected.
	later, laterErr := c.find(*w)
	later = slices.DeleteFunc(later, func(id string) bool { return slices.Contains(ids, id) })
	return errors.Join(err, laterErr, c.end(later))
}

// signOut ends the sessions of some subjects at the pages, in all browsers.
func (c *adminClient) signOut(subjects []string) (all error) {
	for _, subject := range subjects {
		var v adminapi.Sessions
		asked := url.Values{"person": {subject}, "by": {operator()}}
		err := c.call(http.MethodDelete, "sessions?"+asked.Encode(), &v)
		if err == nil && !c.json {
			fmt.Fprintln(c.out, text.Plain(v.Person), "signed out of the pages")
		}
		all = errors.Join(all, err)
	}
	return all
}

// end ends the grants with some ids, one request for each.
func (c *adminClient) end(ids []string) (all error) {
	for _, id := range ids {
		var g adminapi.Grant
		err := c.call(http.MethodDelete, "grants/"+url.PathEscape(id), &g)
		if err == nil && !c.json {
			fmt.Fprintln(c.out, g.ID, g.State)
		}
		all = errors.Join(all, err) // the remaining grants are ended in any case
	}
	return all
}

// isWholePerson reports whether a person is selected without further filters,
// so that everything of theirs must end.
func (w grantFilter) isWholePerson() bool { return w.person != "" && w.client == "" && w.state == "" }

// subjects returns the subjects of a person who is selected as a whole. A user
// name may have belonged to several people; ended grants count, too, because
// their person may still be signed in.
func (c *adminClient) subjects(w grantFilter) (found []string, err error) {
	if !w.isWholePerson() {
		return nil, nil
	}
	// Grants that have ended are searched as well, because their person may
	// still have a session.
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

// find prints the grants that will be ended to standard error, and asks for
// confirmation unless --yes is set. Without --state it selects live grants.
func (c *adminClient) find(w grantFilter) (ids []string, err error) {
	whole := w.isWholePerson()
	// The default is all grants that have not ended, including pending ones.
	w.all, w.state = true, cmp.Or(w.state, string(deviceauth.StandingLive))
	head := true
	_, err = c.pages(&w, func(page adminapi.Grants) error {
		for _, g := range page.Grants {
			ids = append(ids, g.ID.String())
		}
		// The list goes to standard error, since standard output is for
		// results.
		err := printGrants(os.Stderr, page.Grants, head)
		head = head && len(page.Grants) == 0
		return err
	})
	if err != nil || len(ids) == 0 || w.yes {
		return ids, err
	}
	// The question contains the number of grants, which shows if a filter
	// selects too many.
	question := fmt.Sprintf("End %d grants?", len(ids))
	if whole {
		question = fmt.Sprintf("End %d grants, and the person's sessions at the pages?", len(ids))
	}
	return ids, confirm(question)
}

// confirm asks a yes-or-no question on the terminal. If standard input is not
// a terminal the answer is no: a script must use --yes.
func confirm(question string) error {
	// A question to a pipe would wait for ever, or read input that is meant
	// for something else.
	if info, err := os.Stdin.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return errors.New("stdin is not a terminal; pass --yes")
	}
	fmt.Fprint(os.Stderr, question+" [y/N] ")
	answer, _ := bufio.NewReader(os.Stdin).ReadString('\n')
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		return errors.New("nothing was ended")
	}
	return nil
}
