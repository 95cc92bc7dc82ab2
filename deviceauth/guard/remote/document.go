package remote

import (
	"context"
	"sync"
	"time"
)

// failurePause is how long a server that failed is not asked again for the same
// thing: long enough not to add to its load, short enough that a device hardly
// waits when the server is back.
const failurePause = time.Second

// A document is something that the server publishes. One goroutine at a time
// fetches it, for all who wait, and its value is used until a newer one is
// there: a request never waits for a value that is known, and a server that
// fails takes no value away.
type document[T any] struct {
	fetch func() (T, error)
	pause time.Duration // from the end of a fetch to the next

	mu      sync.Mutex    // never held during a fetch
	value   T             // zero until a fetch has succeeded
	asked   time.Time     // when the fetch of the value began
	ended   time.Time     // when the latest fetch ended
	failure error         // of the latest fetch
	done    chan struct{} // closed at the end of the fetch under way; nil: there is none
}

// known returns the current value, and when its fetch began; never blocks.
func (d *document[T]) known() (T, time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.value, d.asked
}

// get returns the current value, and waits for a fetch only where there is no
// value yet.
func (d *document[T]) get(ctx context.Context) (T, error) {
	if value, asked := d.known(); !asked.IsZero() {
		return value, nil
	}
	return d.newer(ctx)
}

// newer returns the result of the fetch under way, or of a fetch that ended
// within the pause, including its error.
func (d *document[T]) newer(ctx context.Context) (T, error) {
	if done := d.renew(); done != nil {
		select {
		case <-done:
		case <-ctx.Done():
			var none T
			return none, ctx.Err()
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.value, d.failure
}

// renew starts a fetch, unless one ended within the pause. It does not wait: the
// channel that it returns is closed at the end of the fetch under way, and is
// nil where there is none.
func (d *document[T]) renew() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	pause := d.pause
	if d.failure != nil {
		pause = failurePause
	}
	if d.done == nil && time.Since(d.ended) >= pause {
		d.done = make(chan struct{})
		go d.run()
	}
	return d.done
}

// run makes one fetch and publishes its result. The HTTP client's timeout bounds
// it.
func (d *document[T]) run() {
	began := time.Now()
	value, err := d.fetch()
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil {
		d.value, d.asked = value, began
	}
	d.ended, d.failure = time.Now(), err
	close(d.done)
	d.done = nil
}
