package deviceauth

import (
	"context"
	"time"
)

// A Cluster is a storage that several gateways use. It carries between them
// what otherwise only the memory of one knows. What it promises is checked by
// package storetest, as ClusterChecks.
type Cluster interface {
	Storage
	// OnChange calls the listener for every grant that any gateway changes, soon
	// after it has changed. There is one listener.
	OnChange(listener func(ID))
	// RecordPoll records a poll of a pending code, and returns what was recorded of
	// the code before, in one step: of two polls at once one is the earlier one.
	RecordPoll(ctx context.Context, p Poll) (PollRecord, error)
	// SetInterval sets the interval of a code if it is from, and returns what it was
	// until now: from, if it has been set. A code of which no poll is recorded is
	// left alone.
	SetInterval(ctx context.Context, id ID, from, to time.Duration) (was time.Duration, err error)
	// CountUp adds one to a key, and returns how many there are in its window,
	// which opens with the first one.
	CountUp(ctx context.Context, key string, window time.Duration) (Count, error)
	// CountDown takes one back, if its window has not ended.
	CountDown(ctx context.Context, key string) error
}

// A Count is how often something happened in a window of time.
type Count struct {
	N    int
	Ends time.Time
}

// A Poll is a poll of a pending code.
type Poll struct {
	Grant    ID
	Method   AuthMethod    // each has a pace of its own
	Interval time.Duration // of a code of which no poll is recorded
	Expires  time.Time     // of the code; what is recorded ends with it
}

// A PollRecord is what is known of the polls of a code. A store only keeps it: what is
// too early, and how much longer an interval gets, is decided by [PollState].
type PollRecord struct {
	Polled   bool          // with this method, before
	Since    time.Duration // the latest such poll, by the store's one clock
	Interval time.Duration // of the code, for all methods
}

// Share has the gateways of a backend pace devices together, and wake each
// other's held polls.
func (s *PollState) Share(c Cluster) {
	s.shared = c
	c.OnChange(s.wake)
}
