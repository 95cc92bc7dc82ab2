package deviceauth

import (
	"context"
	"time"
)

// A Cluster is a storage that several gateways use. It shares between them what a
// single gateway keeps in memory. Its contract is checked by ClusterChecks of package
// storetest.
type Cluster interface {
	Storage
	// OnChange sets the listener, which is called for every grant that any gateway
	// changes, soon after the change. There is only one listener.
	OnChange(listener func(ID))
	// RecordPoll records a poll of a pending code, and returns what was recorded of
	// the code before. It is atomic: one of two simultaneous polls sees the other.
	RecordPoll(ctx context.Context, p Poll) (PollRecord, error)
	// SetInterval replaces the interval of a code, but only if it is equal to from.
	// It returns the interval before the call: if that is from, the interval has
	// been replaced. For a code of which no poll is recorded it does nothing, and
	// returns from.
	SetInterval(ctx context.Context, id ID, from, to time.Duration) (was time.Duration, err error)
	// CountUp increments the counter of a key, and returns its value and the end of
	// its window, which begins with the first event.
	CountUp(ctx context.Context, key string, window time.Duration) (Count, error)
	// CountDown decrements the counter, if its window has not ended.
	CountDown(ctx context.Context, key string) error
}

// A Count is a number of events within a time window.
type Count struct {
	N    int
	Ends time.Time
}

// A Poll is a poll of a pending code.
type Poll struct {
	Grant    ID
	Method   AuthMethod    // each method has its own interval between polls
	Interval time.Duration // the initial one, if no poll of the code is recorded
	Expires  time.Time     // of the code; its record may expire with it
}

// A PollRecord is what is recorded of the polls of a code. A store only keeps it:
// [PollState] decides which poll is too early and by how much the interval grows.
type PollRecord struct {
	Polled   bool          // there was an earlier poll with this method
	Since    time.Duration // time since the latest such poll, by the clock of the store
	Interval time.Duration // the current one, for all methods
}

// Share makes all gateways of a cluster enforce polling intervals together, and wake
// each other's held polls.
func (s *PollState) Share(c Cluster) {
	s.shared = c
	c.OnChange(s.wake)
}
