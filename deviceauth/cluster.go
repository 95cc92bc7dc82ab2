package deviceauth

import (
	"context"
	"time"
)

// A Cluster is a storage that several gateways use. It carries between them
// what otherwise only the memory of one knows.
type Cluster interface {
	Storage
	// OnChange has the listener told of every grant that anybody changes, soon
	// after it has changed. There is one listener.
	OnChange(listener func(ID))
	// RecordPoll notes a poll of a pending code.
	RecordPoll(ctx context.Context, a Poll) (early bool, interval time.Duration, err error)
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
	Method   AuthMethod    // each has its own pace
	Held     bool          // another poll of the code is held here, so this one is early
	Interval time.Duration // as it is before any growth
	Step     time.Duration // of growth
	Most     time.Duration // the growth's end
	Expires  time.Time     // of the code
}

// Share has the gateways of a backend pace devices together, and wake each
// other's held polls.
func (l *PollState) Share(s Cluster) {
	l.shared = s
	s.OnChange(l.wake)
}
