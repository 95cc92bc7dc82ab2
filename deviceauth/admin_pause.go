package deviceauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
)

// A Pause is an operator's decision that no device may be connected for now.
// Connected devices are not affected. It is stored, so that it survives restarts and
// applies to every gateway.
type Pause struct {
	Since time.Time `json:"since,omitzero"` // zero: there is no pause
	By    string    `json:"by,omitempty"`   // who started it
	Note  string    `json:"note,omitempty"` // why, for other operators
}

// On reports whether connecting devices is paused.
func (p Pause) On() bool { return !p.Since.IsZero() }

const pauseDocument = "paused"

// RetryPaused is the Retry-After for requests that are refused during a pause. It is
// a guess, since an operator may end a pause at any time.
const RetryPaused = 30 * time.Second

var (
	errPaused = NewError("temporarily_unavailable",
		"the operator has paused connecting devices; devices that are connected go on; try again later")
	errPausedPages = NewError("paused", "the operator has paused connecting devices") // for the pages
)

// Pause stops connecting devices: no user code is issued, and none can be approved. A
// device that has a code keeps waiting, because most devices give up at any error.
// Other gateways follow within seconds. If there is a pause already, only its
// operator and note are replaced.
func (e *Engine) Pause(ctx context.Context, by, note string) (Pause, error) {
	now := e.now()
	before, after, err := e.changePause(ctx, func(old Pause) Pause {
		next := Pause{Since: old.Since, By: by, Note: note}
		orDefault(&next.Since, now)
		return next
	})
	if err == nil && after != before {
		e.emitEvent(Event{Name: EventPaused, By: by, Reason: note})
	}
	return after, err
}

// Resume ends a pause.
func (e *Engine) Resume(ctx context.Context, by string) error {
	before, _, err := e.changePause(ctx, func(Pause) Pause { return Pause{} })
	if err == nil && before.On() {
		e.emitEvent(Event{Name: EventResumed, By: by})
	}
	return err
}

// Paused returns the pause that is stored now.
func (e *Engine) Paused(ctx context.Context) (Pause, error) {
	_, now, err := e.changePause(ctx, nil)
	return now, err
}

// changePause changes the pause, or only reads it if change is nil. A pause whose
// document the store has lost continues as it was last read, and is written back:
// no operator ended it, because that would have left a document.
func (e *Engine) changePause(ctx context.Context, change func(Pause) Pause) (before, after Pause, err error) {
	if e.cfg.Documents == nil {
		return before, after, errors.New("there is no document store to remember a pause")
	}
	lost := false
	err = e.cfg.Documents.UpdateDocument(ctx, pauseDocument, func(old []byte) (_ []byte, err error) {
		if before, lost, err = e.pause.read(old); err != nil {
			return nil, err
		}
		after = before
		if change != nil {
			after = change(before)
		}
		if after == before && !lost && (old != nil || change == nil) {
			return old, nil
		}
		return json.Marshal(after)
	})
	if err != nil {
		return before, after, err
	}
	e.pause.remember(after)
	if lost {
		e.emitEvent(Event{Name: EventPaused, By: before.By, Reason: "the store had lost it: " + before.Note})
	}
	if after != before {
		e.pause.set(time.Now(), after.On())
	}
	return before, after, nil
}

// Connects refuses with the error paused during a pause. The pages call it early, so
// that a person does not complete a login in vain.
func (e *Engine) Connects(ctx context.Context) error {
	if e.paused(ctx) {
		return errPausedPages
	}
	return nil
}

// pauseKnown is how long a gateway uses the pause that it last read.
const pauseKnown = 2 * time.Second

// pauseCache caches the pause that was last read. Requests that arrive during a read
// wait for its result, so that one read serves all of them.
type pauseCache struct {
	mu    sync.Mutex
	last  *pauseFetch
	known Pause // as last read from the store
}

type pauseFetch struct {
	began time.Time
	done  chan struct{}
	on    bool // the result; read after done is closed
}

// paused reports whether there is a pause. If the store cannot be read the last known
// pause applies: without the store no code is issued or approved anyway.
func (e *Engine) paused(ctx context.Context) bool {
	if e.cfg.Documents == nil {
		return false
	}
	latest, before := e.pause.fetch(time.Now())
	if before != nil {
		e.fetchPause(ctx, latest, before)
	}
	select {
	case <-latest.done: // it is closed within the time limits of the store
		return latest.on
	case <-ctx.Done():
		return true // the client is gone
	}
}

func (e *Engine) fetchPause(ctx context.Context, latest, before *pauseFetch) {
	defer close(latest.done)
	now, err := e.Paused(context.WithoutCancel(ctx)) // the result is also for other requests
	latest.on = now.On() || err != nil && before.on
}

// fetch returns the latest read, or a new one together with its predecessor; the
// caller must then carry out the new one.
func (p *pauseCache) fetch(now time.Time) (latest, before *pauseFetch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before = p.last
	if before == nil {
		before = &pauseFetch{}
	} else if before.isCurrent(now) {
		return before, nil
	}
	p.last = &pauseFetch{began: now, done: make(chan struct{})}
	return p.last, before
}

func (p *pauseCache) remember(known Pause) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known = known
}

// read decodes the document of the pause. If there is no document it returns the
// pause that was last read, and reports whether that was lost.
func (p *pauseCache) read(document []byte) (pause Pause, lost bool, err error) {
	if document == nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.known, p.known.On(), nil
	}
	if err := json.Unmarshal(document, &pause); err != nil {
		return pause, false, fmt.Errorf("reading whether connecting devices is paused: %w", err)
	}
	return pause, false, nil
}

// isCurrent reports whether the store is being read now or was read a moment ago.
func (l *pauseFetch) isCurrent(now time.Time) bool {
	select {
	case <-l.done:
		return now.Sub(l.began) < pauseKnown
	default:
		return true
	}
}

// set records the result of a change by this gateway as the latest read.
func (p *pauseCache) set(now time.Time, on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = &pauseFetch{began: now, done: make(chan struct{}), on: on}
	close(p.last.done)
}
