package deviceauth

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// What an operator sees of clients that introduced themselves, and does to them.

// An IntroducedClient is a client that introduced itself, as the operator sees it.
type IntroducedClient struct {
	*Client
	Since    time.Time
	Used     bool // a person has allowed it
	Approved bool // the operator vouches for it
}

// IntroducedClients lists the clients that introduced themselves, the oldest first. Of
// those with a metadata document it has the ones that were allowed or approved.
func (e *Engine) IntroducedClients(ctx context.Context) ([]IntroducedClient, error) {
	if !e.cfg.Registration.on() || e.cfg.Documents == nil {
		return nil, nil
	}
	document, err := e.cfg.Documents.LoadDocument(ctx, clientListDocument)
	if err != nil || document == nil {
		return nil, err
	}
	list := clientList{}
	if err := json.Unmarshal(document, &list); err != nil {
		return nil, fmt.Errorf("the store's list of clients cannot be read: %w", err)
	}
	var all []IntroducedClient
	for id := range list {
		r, err := e.loadRecord(ctx, id)
		if err != nil {
			return nil, err
		}
		if r == nil {
			continue // forgotten, or being removed
		}
		client, err := e.loadClient(ctx, id)
		if client == nil { // its document is gone, or its host is no longer allowed
			client = &Client{ID: id, Name: id, Public: true, Introduced: true}
		}
		if err != nil && AsError(err) == nil {
			return nil, err
		}
		all = append(all, IntroducedClient{Client: client, Since: r.Registered, Used: r.Used, Approved: r.Approved})
	}
	slices.SortFunc(all, func(a, b IntroducedClient) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID))
	})
	return all, nil
}

// errNoSuchClient is what an operator hears of a client that is not there.
var errNoSuchClient = NewError("not_found", "no client that introduced itself has this client_id")

// ApproveClient has the operator vouch for a client that introduced itself: people are no
// longer told that nobody has checked it. Refusals: not_found.
func (e *Engine) ApproveClient(ctx context.Context, id, by string) error {
	if e.clients[id] != nil || !e.introduces(id) || e.cfg.Documents == nil {
		return errNoSuchClient
	}
	client, err := e.loadClient(ctx, id)
	if err != nil {
		return err
	}
	if client == nil {
		return errNoSuchClient
	}
	if err := e.mark(ctx, id, func(r *clientRecord) { r.Approved = true }); err != nil {
		return err
	}
	e.emitEvent(Event{Name: EventClientApproved, ClientID: id, By: by})
	return nil
}

// RemoveClient forgets a client that introduced itself, and ends its grants. One with a
// metadata document may introduce itself again, as long as its host is allowed. Refusals:
// not_found.
func (e *Engine) RemoveClient(ctx context.Context, id string) error {
	if e.clients[id] != nil || !e.introduces(id) || e.cfg.Documents == nil {
		return errNoSuchClient
	}
	r, err := e.loadRecord(ctx, id)
	if err != nil {
		return err
	}
	if r == nil {
		return errNoSuchClient
	}
	// The record first: from now on the client can begin nothing.
	if err := e.forgetClient(ctx, id); err != nil {
		return err
	}
	if err := e.endGrantsOf(ctx, id); err != nil {
		return err
	}
	e.emitEvent(Event{Name: EventClientRemoved, ClientID: id})
	return e.changeList(ctx, func(list clientList) error {
		delete(list, id)
		return nil
	})
}

// endGrantsOf ends all grants of a client.
func (e *Engine) endGrantsOf(ctx context.Context, id string) error {
	for after := ""; ; {
		grants, next, err := e.Grants(ctx, Filter{Client: id, Standing: StandingLive}, after, 100)
		if err != nil {
			return err
		}
		for _, g := range grants {
			if _, err := e.End(ctx, g.ID); err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
		}
		if after = next; after == "" {
			return nil
		}
	}
}
