package deviceauth

import (
	"context"
	"errors"
)

// An AnswerCodeRequest is a person's answer to an authorization request that a page
// showed.
type AnswerCodeRequest struct {
	InspectCodeRequest
	Allow    bool
	Reported bool // with a denial: the person reports that someone else started the login
}

// AnswerCode records the answer to an authorization request. For an approval it
// returns the authorization code, for a denial an empty one. An approval that is
// repeated, by two clicks or after a fault, gets the same code unless that was used.
// Refusals are those of [Engine.InspectCode], and decided.
func (e *Engine) AnswerCode(ctx context.Context, r AnswerCodeRequest) (Secret, *Grant, error) {
	g, err := e.InspectCode(ctx, r.InspectCodeRequest)
	if g == nil || err != nil && r.Allow {
		return "", nil, err
	}
	code := e.refreshKey().authorizationCode(g.ID)
	g.Device, g.Created = code.digest(), e.now()
	if !r.Allow {
		g.Expires = g.Created.Add(requestLifetime) // as long as its page can be submitted again
	}
	created := e.cfg.Store.Create(ctx, g)
	switch {
	case created != nil && !errors.Is(created, ErrExists):
		return "", nil, created
	case !r.Allow:
		after, err := e.denyCode(ctx, g.ID, r)
		return "", after, err
	case created != nil: // it was answered before, or the store failed during an earlier answer
		after, err := e.reissue(ctx, g, r.Person)
		if err != nil || after.State == Approved {
			return code.authorizationCode(), after, err
		}
	}
	after, err := e.Answer(ctx, AnswerRequest{Grant: g.ID, Allow: true, Person: r.Person, From: r.From,
		Confirmed: true})
	if errors.Is(err, errDecided) { // maybe by another click at the same time
		if again, wrong := e.reissue(ctx, g, r.Person); wrong == nil && again.State == Approved {
			after, err = again, nil
		}
	}
	if err != nil {
		return "", nil, err
	}
	return code.authorizationCode(), after, nil
}

// reissue is called if the grant asked cannot be created because its request already
// has a stored grant. It gives the stored grant the authorization code of asked.
func (e *Engine) reissue(ctx context.Context, asked *Grant, p *Person) (*Grant, error) {
	after, err := e.apply(ctx, asked.ID, func(g *Grant) error { return g.Reissue(e.now(), p, asked.Device) })
	if errors.Is(err, ErrNotFound) {
		return nil, errDecided
	}
	if err != nil || after.State != Approved {
		return after, err
	}
	// The first answer may have ended before it recorded that the client is used.
	if client, err := e.loadClient(ctx, asked.ClientID); err == nil {
		e.markUsed(ctx, client)
	}
	return after, nil
}

// denyCode stores a denial, so that the request cannot be approved afterwards.
func (e *Engine) denyCode(ctx context.Context, id ID, r AnswerCodeRequest) (*Grant, error) {
	reason := ""
	if r.Reported {
		reason = ReasonReported
	}
	g, err := e.apply(ctx, id, func(g *Grant) error {
		g.Renew(e.now().Add(requestLifetime))
		return g.Deny(e.now(), reason)
	})
	if errors.Is(err, ErrNotFound) {
		err = errDecided
	}
	if err != nil {
		return nil, err
	}
	e.emitByPerson(EventDenied, g, r.Person, r.From)
	return g, nil
}
