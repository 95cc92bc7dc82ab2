package remote

import (
	"context"
	"sync"
	"time"
)

// failurePause is how long a server that did not answer is not asked again for
// the same thing: long enough to do it no harm, too short to hold up a device
// for long when it is back.
const failurePause = time.Second

// A document is one that the server publishes. It is fetched by one at a time,
// for all who wait, and kept until a newer one is there: nobody waits for what
// is known, and a server that fails takes nothing away.
type document[T any] struct {
	fetch func() (T, error)
	pause time.Duration // from the end of a fetch to the next

	mu      sync.Mutex    // never held while the server is asked
	value   T             // zero until there is one
	asked   time.Time     // when the value was asked for
	ended   time.Time     // when the last fetch was over
	failure error         // of the last fetch
	over    chan struct{} // closed when the fetch under way is over; nil: there is none
}

// known returns what there is, and when it was asked for.
func (d *document[T]) known() (T, time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.value, d.asked
}

// get returns the document, and waits for it only where there is none yet.
func (d *document[T]) get(ctx context.Context) (T, error) {
	if value, asked := d.known(); !asked.IsZero() {
		return value, nil
	}
	return d.newer(ctx)
}

// newer returns the document as of the fetch under way, or of one that was over
// a moment ago, with its failure.
func (d *document[T]) newer(ctx context.Context) (T, error) {
	if over := d.renew(); over != nil {
		select {
		case <-over:
		case <-ctx.Done():
			var none T
			return none, ctx.Err()
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.value, d.failure
}

// renew has the document fetched, unless that was done a moment ago. It holds
// nobody up: what it returns ends with the fetch under way; nil: there is none.
func (d *document[T]) renew() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	pause := d.pause
	if d.failure != nil {
		pause = failurePause
	}
	if d.over == nil && time.Since(d.ended) >= pause {
		d.over = make(chan struct{})
		go d.run()
	}
	return d.over
}

// run ends with its request, which the client's time-out ends.
func (d *document[T]) run() {
	began := time.Now()
	value, err := d.fetch()
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil {
		d.value, d.asked = value, began
	}
	d.ended, d.failure = time.Now(), err
	close(d.over)
	d.over = nil
}
