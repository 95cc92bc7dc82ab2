package deviceauth

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// A clientList is the store's index of all clients that introduced themselves, with
// which they are counted, listed and expired.
type clientList map[string]listedClient

type listedClient struct {
	At       time.Time `json:"at"`
	Used     time.Time `json:"used,omitzero"`      // when a person last approved it
	Approved bool      `json:"approved,omitempty"` // the operator vouches for it
	Document bool      `json:"document,omitempty"` // it has a metadata document, and does not count toward the limit

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

// changeList changes the stored list of clients.
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

// enlist adds a client to the list. It removes those that no person approved within a
// day, and one more if the list is full.
func (e *Engine) enlist(ctx context.Context, r *clientRecord, now time.Time) error {
	var gone clientList
	err := e.changeList(ctx, func(list clientList) error {
		gone = clientList{}
		for _, id := range list.unused(now, unusedLife) {
			gone[id] = list[id]
			delete(list, id)
		}
		if list.registered() >= e.cfg.Registration.Limit {
			id := list.evictable(now, e.cfg.Lifetime.RefreshToken)
			if id == "" {
				return errNoMoreClients
			}
			gone[id] = list[id]
			delete(list, id)
		}
		list[r.ID] = r.listed()
		return nil
	})
	if err != nil {
		return err
	}
	for id, entry := range gone {
		if err := e.forgetListed(ctx, id, entry); err != nil {
			return err
		}
	}
	return nil
}

// forgetListed removes from the store a client that was in the list with this entry. If
// the record shows a later use or approval, the list could not be updated at that time:
// the client is kept, and its entry is written again.
func (e *Engine) forgetListed(ctx context.Context, id string, entry listedClient) error {
	var kept *clientRecord
	_, err := e.markRemoved(ctx, id, func(r *clientRecord) bool {
		kept = nil
		if now := r.listed(); now.Approved != entry.Approved || !now.Used.Equal(entry.Used) {
			kept = r
		}
		return kept == nil
	})
	switch {
	case err != nil:
		return err
	case kept != nil:
		return e.relist(ctx, kept)
	}
	return e.forgetClient(ctx, id)
}

// markRemoved marks the record of a client as being removed, if may returns true. From
// then on the client is treated as absent. found is false if there is no record.
func (e *Engine) markRemoved(ctx context.Context, id string, may func(*clientRecord) bool) (found bool, err error) {
	err = e.cfg.Documents.UpdateDocument(ctx, clientDocument(id), func(old []byte) ([]byte, error) {
		if found = old != nil; !found {
			return nil, nil
		}
		r, err := parseRecord(old, id)
		if err != nil || r.Removed || !may(r) { // an unreadable record is removed without a mark
			return old, nil
		}
		r.Removed = true
		return json.Marshal(r)
	})
	if err == nil {
		e.introduced.expire(id)
	}
	return found, err
}

// listed returns the entry of a client for the list.
func (r *clientRecord) listed() listedClient {
	return listedClient{
		At: r.Registered, Used: r.Used, Approved: r.Approved != (Digest{}), Document: !IsRegistered(r.ID),
		Origins: r.Metadata.origins(),
	}
}

// registered counts the clients that count toward the limit.
func (l clientList) registered() (n int) {
	for _, c := range l {
		if !c.Document {
			n++
		}
	}
	return n
}

// unused returns the clients that are older than life and that neither a person nor
// the operator has approved.
func (l clientList) unused(now time.Time, life time.Duration) (ids []string) {
	for id, c := range l {
		if c.Used.IsZero() && !c.Approved && now.Sub(c.At) > life {
			ids = append(ids, id)
		}
	}
	return ids
}

// youngClient is the age below which a registered client is not evicted.
const youngClient = 10 * time.Minute

// evictable returns the client to remove when the list is full: the oldest that no person
// has approved, unless it is younger than youngClient; or else the one whose latest
// approval is the oldest, if all grants of that time must have expired. It returns "" if
// there is none.
func (l clientList) evictable(now time.Time, longest time.Duration) (id string) {
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

// forgetClient removes a client from the store.
func (e *Engine) forgetClient(ctx context.Context, id string) error {
	e.introduced.put(id, nil, e.now())
	return e.cfg.Documents.PutDocument(ctx, clientDocument(id), nil, time.Time{})
}

// relist updates the entry of a client in the list.
func (e *Engine) relist(ctx context.Context, r *clientRecord) error {
	return e.changeList(ctx, func(list clientList) error {
		list[r.ID] = r.listed()
		return nil
	})
}

// markUsed records that a person has approved a client that introduced itself. Its
// error is ignored: the approval is valid all the same, and the next one records it
// again.
func (e *Engine) markUsed(ctx context.Context, c *Client) {
	if c == nil || !c.Introduced || e.cfg.Documents == nil || e.now().Sub(c.used) < day {
		return
	}
	// A browser that goes away after the click must not make the client look unused.
	ctx, cancel := afterwards(ctx)
	defer cancel()
	e.changeListed(ctx, c, func(r *clientRecord) { r.Used = e.now() })
}

// changeListed changes the record of a client and updates its entry in the list. A
// client with a metadata document gets a record if it has none, with the document's
// content.
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
