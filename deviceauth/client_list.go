package deviceauth

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// A clientList is what the store has of all clients that introduced themselves, so that
// they can be counted, listed and forgotten.
type clientList map[string]listedClient

type listedClient struct {
	At       time.Time `json:"at"`
	Used     time.Time `json:"used,omitzero"`      // when a person allowed it last
	Approved bool      `json:"approved,omitempty"` // the operator vouches for it
	Document bool      `json:"document,omitempty"` // it has a metadata document, and displaces no other client

	Origins []string `json:"origins,omitempty"` // of pages that act as the client
}

const clientListDocument = "clients"

// readList reads the list of clients.
func readList(document []byte) (clientList, error) {
	list := clientList{}
	if document == nil {
		return list, nil
	}
	if err := json.Unmarshal(document, &list); err != nil {
		return nil, fmt.Errorf("the store's list of clients cannot be read: %w", err)
	}
	if list == nil { // null
		list = clientList{}
	}
	return list, nil
}

// changeList changes the list of clients.
func (e *Engine) changeList(ctx context.Context, change func(clientList) error) error {
	return e.cfg.Documents.UpdateDocument(ctx, clientListDocument, func(old []byte) ([]byte, error) {
		list, err := readList(old)
		if err != nil {
			return nil, err
		}
		if err := change(list); err != nil {
			return nil, err
		}
		return json.Marshal(list)
	})
}

// enlist adds a client to the list. Those that no person allowed in a day are taken off, and
// where the list is full one gives way.
func (e *Engine) enlist(ctx context.Context, r *clientRecord, now time.Time) error {
	var gone []string
	err := e.changeList(ctx, func(list clientList) error {
		gone = list.unused(now, unusedLife)
		for _, id := range gone {
			delete(list, id)
		}
		if list.registered() >= e.cfg.Registration.Limit {
			id := list.giveWay(now, e.cfg.Lifetime.RefreshToken)
			if id == "" {
				return errNoMoreClients
			}
			delete(list, id)
			gone = append(gone, id)
		}
		list[r.ID] = r.listed()
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range gone {
		if err := e.forgetClient(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// listed is what the list has of a client.
func (r *clientRecord) listed() listedClient {
	return listedClient{
		At: r.Registered, Used: r.Used, Approved: r.Approved != (Digest{}), Document: !IsRegistered(r.ID),
		Origins: r.Metadata.origins(),
	}
}

// registered counts the clients that take a place.
func (l clientList) registered() (n int) {
	for _, c := range l {
		if !c.Document {
			n++
		}
	}
	return n
}

// unused lists the clients that no person has allowed, and that are older than a while.
func (l clientList) unused(now time.Time, life time.Duration) (ids []string) {
	for id, c := range l {
		if c.Used.IsZero() && !c.Approved && now.Sub(c.At) > life {
			ids = append(ids, id)
		}
	}
	return ids
}

// youngClient is how long a client that registered just now keeps its place.
const youngClient = 10 * time.Minute

// giveWay returns the client whose place is taken where the list is full: the oldest that
// no person has allowed, but for those of the last minutes; else the one that was allowed
// longest ago, where no grant can live that long. Empty: there is none.
func (l clientList) giveWay(now time.Time, longest time.Duration) (id string) {
	for _, unused := range l.unused(now, youngClient) {
		if !l[unused].Document && (id == "" || l[unused].At.Before(l[id].At)) {
			id = unused
		}
	}
	if id != "" {
		return id
	}
	for over, c := range l {
		ended := !c.Document && !c.Approved && !c.Used.IsZero() && now.Sub(c.Used) > longest+day
		if ended && (id == "" || c.Used.Before(l[id].Used)) {
			id = over
		}
	}
	return id
}

// forgetClient takes a client out of the store.
func (e *Engine) forgetClient(ctx context.Context, id string) error {
	e.introduced.put(id, nil, e.now())
	return e.cfg.Documents.PutDocument(ctx, clientDocument(id), nil, time.Time{})
}

// relist has the list say what a client has become.
func (e *Engine) relist(ctx context.Context, r *clientRecord) error {
	return e.changeList(ctx, func(list clientList) error {
		list[r.ID] = r.listed()
		return nil
	})
}

// markUsed keeps in mind that a person has allowed a client that introduced itself. The
// answer stands, whatever the store says to this; the next one says it again.
func (e *Engine) markUsed(ctx context.Context, c *Client) {
	if c == nil || !c.Introduced || e.cfg.Documents == nil || e.now().Sub(c.used) < day {
		return
	}
	e.changeListed(ctx, c, func(r *clientRecord) { r.Used = e.now() })
}

// mark changes the record of a client, and has the list say so. A client with a document
// has a record from now on, with what its document said.
func (e *Engine) changeListed(ctx context.Context, c *Client, change func(*clientRecord)) error {
	var after *clientRecord
	err := e.changeRecord(ctx, c.ID, func(r *clientRecord) (*clientRecord, error) {
		document := !IsRegistered(c.ID)
		switch {
		case r == nil && !document: // removed meanwhile
			after = nil
			return nil, nil
		case r == nil:
			r = &clientRecord{ID: c.ID, Registered: e.now()}
		}
		if document {
			r.Metadata = c.metadata
		}
		change(r)
		after = r
		return r, nil
	})
	if err != nil || after == nil {
		return err
	}
	return e.relist(ctx, after)
}
