package redisstore

import (
	"errors"

	"github.com/redis/go-redis/v9"
)

// Abandon breaks off what waits for the server, and has all that comes later fail at
// once: for a process that ends, and cannot wait for one that does not answer. What
// was sent may have been done, as when the process is killed. The library reads to
// its time-out whatever a context says, so its connections are closed under it. Close
// is to be called all the same.
func (s *Store) Abandon() {
	s.abandoned.Store(true)
	s.changes.stop() // or it would say that the server has gone away
	s.redis.Close()
}

// closed is nil where the connections were closed before.
func closed(err error) error {
	if errors.Is(err, redis.ErrClosed) {
		return nil
	}
	return err
}
