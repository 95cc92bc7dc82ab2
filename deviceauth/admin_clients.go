package deviceauth

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"slices"
	"time"
)

// The operator's view of clients that introduced themselves, and operations on them.

// An IntroducedClient is a client that introduced itself, as it is shown to the
// operator.
type IntroducedClient struct {
	*Client
	Since    time.Time
	Used     bool // a person has approved it
	Approved bool // the operator vouches for it
}

// IntroducedClients lists the clients that introduced themselves, the oldest first.
// Of clients with a metadata document it lists those that were approved by a person
// or by the operator, with the content that their documents had then.
func (e *Engine) IntroducedClients(ctx context.Context) (all []IntroducedClient, err error) {
	records, err := e.clientRecords(ctx)
	for _, r := range records {
		host := ""
		if u, err := url.Parse(r.ID); err == nil && !IsRegistered(r.ID) {
			host = u.Host
		}
		client := e.introducedClient(r.ID, host, r.Metadata, r)
		if IsRegistered(r.ID) {
			client = e.registeredClient(r)
		}
		all = append(all, IntroducedClient{
			Client: client, Since: r.Registered, Used: !r.Used.IsZero(), Approved: r.vouches(r.Metadata),
		})
	}
	return all, err
}

// clientRecords returns the records of the clients that introduced themselves, the
// oldest first.
func (e *Engine) clientRecords(ctx context.Context) (all []*clientRecord, err error) {
	if e.cfg.Documents == nil {
		return nil, nil
	}
	document, err := e.cfg.Documents.LoadDocument(ctx, clientListDocument)
	if err != nil {
		return nil, err
	}
	list, err := readList(document)
	if err != nil {
		return nil, err
	}
	for id, entry := range list {
		document, err := e.cfg.Documents.LoadDocument(ctx, clientDocument(id))
		if err != nil {
			return nil, err
		}
		if document == nil { // it has just been removed
			continue
		}
		r, err := parseRecord(document, id)
		if err != nil { // it is listed nevertheless, so that it can be removed
			r = &clientRecord{ID: id, Registered: entry.At, Used: entry.Used}
		}
		if r.Removed || !r.isOver(e.now()) { // a removal that met a fault can be repeated
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b *clientRecord) int {
		return cmp.Or(a.Registered.Compare(b.Registered), cmp.Compare(a.ID, b.ID))
	})
	return all, nil
}

// errNoSuchClient is the error for an operator who names a client that does not
// exist.
var errNoSuchClient = NewError("not_found", "no client that introduced itself has this client_id")

// ApproveClient records that the operator vouches for a client that introduced
// itself: people are no longer warned that it has not been checked. Refusals:
// not_found.
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
	if err := e.changeListed(ctx, client, func(r *clientRecord) { r.Approved = r.Metadata.shown() }); err != nil {
		return err
	}
	e.emitEvent(Event{Name: EventClientApproved, ClientID: id, By: by})
	return nil
}

// RemoveClient removes a client that introduced itself, and ends its grants; by names
// the operator for the event. It also removes clients that may no longer introduce
// themselves. A client with a metadata document may introduce itself again as long as
// its host is allowed. RemoveClient may be called again after a fault. Refusals:
// not_found.
func (e *Engine) RemoveClient(ctx context.Context, id, by string) error {
	if id == "" || e.clients[id] != nil || e.cfg.Documents == nil { // the filter below takes "" for any client
		return errNoSuchClient
	}
	// The record is marked first, so that a registered client can start no further grants.
	// It is deleted last: until then the client may ask for its removal again.
	found, err := e.markRemoved(ctx, id, func(*clientRecord) bool { return true })
	if err != nil {
		return err
	}
	ended, err := e.endGrantsOf(ctx, id)
	if err != nil {
		return err
	}
	listed := false
	err = e.changeList(ctx, func(list clientList) error {
		_, listed = list[id]
		delete(list, id)
		return nil
	})
	switch {
	case err != nil:
		return err
	case !found && !listed && ended == 0:
		return errNoSuchClient
	}
	if err := e.forgetClient(ctx, id); err != nil {
		return err
	}
	e.emitEvent(Event{Name: EventClientRemoved, ClientID: id, By: by})
	return nil
}

// endGrantsOf ends all grants of a client, and returns their number.
func (e *Engine) endGrantsOf(ctx context.Context, id string) (ended int, err error) {
	for after := ""; ; {
		grants, next, err := e.Grants(ctx, Filter{Client: id, Standing: StandingLive}, after, 100)
		if err != nil {
			return ended, err
		}
		for _, g := range grants {
			if _, err := e.End(ctx, g.ID); err != nil && !errors.Is(err, ErrNotFound) {
				return ended, err
			}
			ended++
		}
		if after = next; after == "" {
			return ended, nil
		}
	}
}
