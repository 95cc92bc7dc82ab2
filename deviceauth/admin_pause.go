package deviceauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
)

// A Pause is an operator's word that no device is to be connected for now.
// What is connected goes on. It is kept in the store, so that it outlives
// restarts and holds for every gateway.
type Pause struct {
	Since time.Time `json:"since,omitzero"` // zero: nothing is paused
	By    string    `json:"by,omitempty"`   // who said so
	Note  string    `json:"note,omitempty"` // why, for other operators
}

// On reports whether connecting devices is paused.
func (p Pause) On() bool { return !p.Since.IsZero() }

const pauseDocument = "paused"

// RetryPaused is when who was turned away by a pause might ask again. Nobody
// knows how long one takes.
const RetryPaused = 30 * time.Second

var (
	errPaused = NewError("temporarily_unavailable",
		"the operator has paused connecting devices; devices that are connected go on; try again later")
	errPausedPages = NewError("paused", "the operator has paused connecting devices") // for people
)

// Pause stops connecting devices: no code is given out, and none can be approved.
// A device with a code waits on, since most give up at any error. Other gateways
// follow within seconds. Pausing what is paused already changes who and why.
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

// Resume connects devices again.
func (e *Engine) Resume(ctx context.Context, by string) error {
	before, _, err := e.changePause(ctx, func(Pause) Pause { return Pause{} })
	if err == nil && before.On() {
		e.emitEvent(Event{Name: EventResumed, By: by})
	}
	return err
}

// Paused returns what the store says now.
func (e *Engine) Paused(ctx context.Context) (Pause, error) {
	_, now, err := e.changePause(ctx, nil)
	return now, err
}

// changePause changes the pause, or only looks at it where change is nil. A pause
// that the store has lost goes on as it was known here, and is written back: nobody
// ended it, for who does leaves a document.
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
		e.pause.learn(time.Now(), after.On())
	}
	return before, after, nil
}

// Connects refuses with paused while connecting devices is paused: for the
// pages, before a person has gone all the way for nothing.
func (e *Engine) Connects(ctx context.Context) error {
	if e.paused(ctx) {
		return errPausedPages
	}
	return nil
}

// pauseKnown is how long a gateway goes by what it read.
const pauseKnown = 2 * time.Second

// pauseCache remembers the last look into the store. Whoever comes while
// somebody looks waits for that, so that one look serves all.
type pauseCache struct {
	mu    sync.Mutex
	last  *pauseFetch
	known Pause // as the store said last
}

type pauseFetch struct {
	began time.Time
	done  chan struct{}
	on    bool // what it found; read after done
}

// paused reports whether connecting devices is paused. Where the store cannot
// be asked, what was known last holds: a code is neither given out nor approved
// without the store, either.
func (e *Engine) paused(ctx context.Context) bool {
	if e.cfg.Documents == nil {
		return false
	}
	look, before := e.pause.look(time.Now())
	if before != nil {
		e.lookAtPause(ctx, look, before)
	}
	select {
	case <-look.done: // which the store's own time limits end
		return look.on
	case <-ctx.Done():
		return true // no listener
	}
}

func (e *Engine) lookAtPause(ctx context.Context, look, before *pauseFetch) {
	defer close(look.done)
	now, err := e.Paused(context.WithoutCancel(ctx)) // others wait for it, too
	look.on = now.On() || err != nil && before.on
}

// look returns the last look, or a new one with the one before it: the caller
// is to look.
func (p *pauseCache) look(now time.Time) (look, before *pauseFetch) {
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

// read returns what a document says; where there is none, the pause that it was
// known to say, which is lost then.
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

// isCurrent reports whether the store is being read now, or was a moment ago.
func (l *pauseFetch) isCurrent(now time.Time) bool {
	select {
	case <-l.done:
		return now.Sub(l.began) < pauseKnown
	default:
		return true
	}
}

// learn takes a change of our own for a look that is over.
func (p *pauseCache) learn(now time.Time, on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = &pauseFetch{began: now, done: make(chan struct{}), on: on}
	close(p.last.done)
}
