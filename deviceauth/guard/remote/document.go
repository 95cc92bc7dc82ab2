package remote

import (
	"context"
	"sync"
	"time"
)

// failurePause is the time after a failed fetch in which no other is tried: long
// enough not to add to the server's load, short enough that a device hardly waits
// when the server is back.
const failurePause = time.Second

// A document is a value that the server publishes and that is fetched when needed.
// One goroutine at a time fetches it for all requests that wait. The value is used
// until a newer one arrives: a request never waits if there is a value, and a failed
// fetch keeps the value.
type document[T any] struct {
	fetch func() (T, error)
	pause time.Duration // between the end of a fetch and the start of the next

	mu      sync.Mutex    // never held during a fetch
	value   T             // zero until a fetch has succeeded
	asked   time.Time     // when the fetch of the value began
	ended   time.Time     // when the latest fetch ended
	failure error         // of the latest fetch
	done    chan struct{} // closed when the current fetch ends; nil if there is none
}

// known returns the current value, and when its fetch began. It never blocks.
func (d *document[T]) known() (T, time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.value, d.asked
}

// get returns the current value. It waits for a fetch only if there is no value yet.
func (d *document[T]) get(ctx context.Context) (T, error) {
	if value, asked := d.known(); !asked.IsZero() {
		return value, nil
	}
	return d.newer(ctx)
}

// newer returns the result of the current fetch, or of one that ended within the
// pause; that result may be an error.
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

// renew starts a fetch, unless one has ended within the pause. It does not wait: it
// returns a channel that is closed when the current fetch ends, or nil if there is
// none.
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

// run makes one fetch and publishes its result. The timeout of the HTTP client bounds
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
