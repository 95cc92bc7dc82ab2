package redisstore

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// countUp increments a counter, and sets its expiry with the first event: a fixed
// window, which later events do not prolong.
var countUp = redis.NewScript(`
local n = redis.call("INCR", KEYS[1])
if n == 1 then redis.call("PEXPIRE", KEYS[1], ARGV[1]) end
return {n, redis.call("PTTL", KEYS[1])}`)

// CountUp implements [deviceauth.Cluster]. It computes the end of the window with the
// clock of this machine, from the remaining time that the server reports.
func (s *Store) CountUp(ctx context.Context, key string, window time.Duration) (deviceauth.Count, error) {
	answer, err := pair(countUp.Run(ctx, s.redis, []string{s.countKey(key)}, window.Milliseconds()))
	if err != nil {
		return deviceauth.Count{}, wrap(err)
	}
	return deviceauth.Count{N: int(answer[0]), Ends: time.Now().Add(time.Duration(answer[1]) * time.Millisecond)}, nil
}

// pair returns the response of a script that returns two numbers. It checks their
// count: a proxy in front of the server, or another server, may respond with
// anything.
func pair(cmd *redis.Cmd) (answer [2]int64, err error) {
	list, err := cmd.Int64Slice()
	if err != nil {
		return answer, err
	}
	if len(list) != len(answer) {
		return answer, fmt.Errorf("a script answers %d numbers, want %d", len(list), len(answer))
	}
	return [2]int64(list), nil
}

// countDown decrements a counter. It creates no missing key, which would never
// expire, and deletes one that reaches 0.
var countDown = redis.NewScript(`
local n = tonumber(redis.call("GET", KEYS[1]) or "0")
if n > 1 then return redis.call("DECR", KEYS[1]) end
redis.call("DEL", KEYS[1])
return 0`)

// CountDown implements [deviceauth.Cluster]. It takes back one event, such as the entry
// of a user code that was right, that repeats a wrong one, or that another limit stopped.
func (s *Store) CountDown(ctx context.Context, key string) error {
	return wrap(countDown.Run(ctx, s.redis, []string{s.countKey(key)}).Err())
}
