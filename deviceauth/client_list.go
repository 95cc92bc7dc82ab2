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
	At   time.Time `json:"at"`
	Used bool      `json:"used,omitempty"` // used or approved: it is not forgotten

	Origins []string `json:"origins,omitempty"` // of pages that act as the client
}

const clientListDocument = "clients"

// changeList changes the list of clients.
func (e *Engine) changeList(ctx context.Context, change func(clientList) error) error {
	return e.cfg.Documents.UpdateDocument(ctx, clientListDocument, func(old []byte) ([]byte, error) {
		list := clientList{}
		if old != nil {
			if err := json.Unmarshal(old, &list); err != nil {
				return nil, fmt.Errorf("the store's list of clients cannot be read: %w", err)
			}
		}
		if err := change(list); err != nil {
			return nil, err
		}
		return json.Marshal(list)
	})
}

// enlist adds a client to the list. Those that nobody used in a day are taken off, and
// where the list is full the oldest of those that nobody uses gives way, but for the ones
// of the last minutes.
func (e *Engine) enlist(ctx context.Context, r *clientRecord, now time.Time) error {
	var gone []string
	err := e.changeList(ctx, func(list clientList) error {
		gone = list.unused(now, unusedLife)
		for _, id := range gone {
			delete(list, id)
		}
		if len(list) >= e.cfg.Registration.Limit {
			oldest := list.oldest(now)
			if oldest == "" {
				return errNoMoreClients
			}
			delete(list, oldest)
			gone = append(gone, oldest)
		}
		list[r.ID] = listedClient{At: r.Registered, Used: r.Used || r.Approved, Origins: r.Metadata.origins()}
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

// unused lists the clients that nobody used for a while.
func (l clientList) unused(now time.Time, life time.Duration) (ids []string) {
	for id, c := range l {
		if !c.Used && now.Sub(c.At) > life {
			ids = append(ids, id)
		}
	}
	return ids
}

// youngClient is how long a client that registered just now keeps its place.
const youngClient = 10 * time.Minute

// oldest returns the client that registered first of those that nobody uses and that are
// not young; empty: there is none.
func (l clientList) oldest(now time.Time) (oldest string) {
	for _, id := range l.unused(now, youngClient) {
		if oldest == "" || l[id].At.Before(l[oldest].At) {
			oldest = id
		}
	}
	return oldest
}

// forgetClient takes a client out of the store.
func (e *Engine) forgetClient(ctx context.Context, id string) error {
	e.introduced.put(id, nil, e.now())
	return e.cfg.Documents.PutDocument(ctx, clientDocument(id), nil, time.Time{})
}

// relist has the list say what a client has become.
func (e *Engine) relist(ctx context.Context, r *clientRecord) error {
	return e.changeList(ctx, func(list clientList) error {
		if c, ok := list[r.ID]; ok {
			c.Origins, c.Used = r.Metadata.origins(), c.Used || r.Approved
			list[r.ID] = c
		}
		return nil
	})
}

// markUsed keeps in mind that a person has allowed a client that introduced itself.
func (e *Engine) markUsed(ctx context.Context, c *Client) error {
	if c == nil || !c.Introduced || e.cfg.Documents == nil {
		return nil
	}
	return e.mark(ctx, c.ID, func(r *clientRecord) { r.Used = true })
}

// mark changes the record of a client, and has the list say that it is used. A client with
// a document has a record from now on.
func (e *Engine) mark(ctx context.Context, id string, change func(*clientRecord)) error {
	now, known := e.now(), true
	err := e.changeRecord(ctx, id, func(r *clientRecord) (*clientRecord, error) {
		if r == nil && !e.hasDocument(id) {
			known = false // removed meanwhile
			return nil, nil
		}
		if r == nil {
			r = &clientRecord{ID: id, Registered: now}
		}
		change(r)
		return r, nil
	})
	if err != nil || !known {
		return err
	}
	return e.changeList(ctx, func(list clientList) error {
		c := list[id]
		orDefault(&c.At, now)
		c.Used = true
		list[id] = c
		return nil
	})
}
