package redisstore

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// Counts implements [deviceauth.Shared].
func (s *Store) Counts(ctx context.Context, keys []string) ([]deviceauth.Count, error) {
	n, left := make([]*redis.StringCmd, len(keys)), make([]*redis.DurationCmd, len(keys))
	_, err := s.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, key := range keys {
			n[i], left[i] = p.Get(ctx, s.countKey(key)), p.PTTL(ctx, s.countKey(key))
		}
		return nil
	})
	if err != nil && err != redis.Nil {
		return nil, wrap(err)
	}
	counts := make([]deviceauth.Count, len(keys))
	for i := range keys {
		count, err := n[i].Int()
		if err != nil && err != redis.Nil {
			return nil, wrap(err)
		}
		counts[i] = deviceauth.Count{N: count, Ends: time.Now().Add(left[i].Val())}
	}
	return counts, nil
}

// countUp opens the window with the first count.
var countUp = redis.NewScript(`
local n = redis.call("INCR", KEYS[1])
if n == 1 then redis.call("PEXPIRE", KEYS[1], ARGV[1]) end
return n`)

// CountUp implements [deviceauth.Shared].
func (s *Store) CountUp(ctx context.Context, key string, window time.Duration) error {
	return wrap(countUp.Run(ctx, s.redis, []string{s.countKey(key)}, window.Milliseconds()).Err())
}
