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

// The commands that end grants: those with some ids, or all of a person or a
// client, after a question.

// revokeCommand makes the command that ends grants, as `device-auth revoke` and
// as `device-auth grants revoke`.
func revokeCommand(c *adminClient, w *grantFilter) *cobra.Command {
	cmd := &cobra.Command{
		Use: "revoke [<id>...]", Short: "Ends grants; an id that begins with a dash comes after --",
		RunE: func(_ *cobra.Command, ids []string) error { return c.revoke(w, ids) },
	}
	cmd.Flags().BoolVar(&w.yes, "yes", false, "Do not ask")
	return cmd
}

// revoke ends the grants with some ids, or all grants of a person or a client.
// Of a person who is selected as a whole, the sessions at the pages end, too.
// Errors do not keep the remaining grants from being ended; they are returned
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
	err = c.signOut(subjects) // first, because a person who is signed in could connect another device
	err = errors.Join(err, c.end(ids))
	w.yes = true // a device that was connected during the question is ended, too, without another one
	// A device that was connected after the list was made would otherwise stay
	// connected.
	later, laterErr := c.find(*w)
	later = slices.DeleteFunc(later, func(id string) bool { return slices.Contains(ids, id) })
	return errors.Join(err, laterErr, c.end(later))
}

// signOut ends the sessions that subjects have at the pages, in every browser.
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

// isWholePerson reports whether a person is selected without further filters, so that
// everything of theirs is to end.
func (w grantFilter) isWholePerson() bool { return w.person != "" && w.client == "" && w.state == "" }

// subjects are the subjects of a person who is selected as a whole. A user name
// may have belonged to several people; grants that have ended count, because
// such a person may still be signed in.
func (c *adminClient) subjects(w grantFilter) (found []string, err error) {
	if !w.isWholePerson() {
		return nil, nil
		// Grants that have ended are searched as well, because their person may
		// still have a session.
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

// find prints the grants that are to end to standard error, and asks for a
// confirmation unless --yes is set. Without --state it selects the grants that
// are live.
func (c *adminClient) find(w grantFilter) (ids []string, err error) {
	whole := w.isWholePerson()
	// The default is every grant that is not over, pending ones included.
	w.all, w.state = true, cmp.Or(w.state, string(deviceauth.StandingLive))
	head := true
	_, err = c.pages(&w, func(page adminapi.Grants) error {
		for _, g := range page.Grants {
			ids = append(ids, g.ID.String())
		}
		// The list goes to standard error, since standard output is for what was
		// done.
		err := printGrants(os.Stderr, page.Grants, head)
		head = head && len(page.Grants) == 0
		return err
	})
	if err != nil || len(ids) == 0 || w.yes {
		return ids, err
	}
	// The question has the number of grants, which shows a filter that selects
	// too many.
	question := fmt.Sprintf("End %d grants?", len(ids))
	if whole {
		question = fmt.Sprintf("End %d grants, and the person's sessions at the pages?", len(ids))
	}
	return ids, confirm(question)
}

// confirm asks a yes-or-no question on the terminal. Where standard input is no
// terminal the answer is no: a script has to say --yes.
func confirm(question string) error {
	// A question to a pipe would wait without end, or read an answer that was
	// meant for something else.
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
