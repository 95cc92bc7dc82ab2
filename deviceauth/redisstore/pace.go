package redisstore

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// arrive records a poll by the server's one clock, and returns how many milliseconds
// ago the one before was, or -1, and the code's interval. A clock that was set back
// makes them 0.
var arrive = redis.NewScript(`
local t = redis.call("TIME")
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local last = redis.call("HGET", KEYS[1], ARGV[1])
redis.call("HSET", KEYS[1], ARGV[1], now)
redis.call("HSETNX", KEYS[1], "interval", ARGV[2])
local interval = redis.call("HGET", KEYS[1], "interval")
redis.call("PEXPIREAT", KEYS[1], ARGV[3])
return {last and math.max(now - last, 0) or -1, tonumber(interval)}`)

// RecordPoll implements [deviceauth.Cluster]. The key expires with the grant.
func (s *Store) RecordPoll(ctx context.Context, p deviceauth.Poll) (deviceauth.PollRecord, error) {
	answer, err := pair(arrive.Run(ctx, s.redis, []string{s.paceKey(p.Grant)},
		int(p.Method), p.Interval.Milliseconds(), p.Expires.UnixMilli()))
	if err != nil {
		return deviceauth.PollRecord{}, wrap(err)
	}
	record := deviceauth.PollRecord{Interval: time.Duration(answer[1]) * time.Millisecond}
	if answer[0] >= 0 {
		record.Polled, record.Since = true, time.Duration(answer[0])*time.Millisecond
	}
	return record, nil
}

// setInterval compares and sets. It makes no key that is not there: it would never
// expire.
var setInterval = redis.NewScript(`
local was = redis.call("HGET", KEYS[1], "interval")
if was == ARGV[1] then redis.call("HSET", KEYS[1], "interval", ARGV[2]) end
return tonumber(was or ARGV[1])`)

// SetInterval implements [deviceauth.Cluster].
func (s *Store) SetInterval(ctx context.Context, id deviceauth.ID, from, to time.Duration) (time.Duration, error) {
	was, err := setInterval.Run(ctx, s.redis, []string{s.paceKey(id)}, from.Milliseconds(), to.Milliseconds()).Int64()
	if err != nil {
		return 0, wrap(err)
	}
	return time.Duration(was) * time.Millisecond, nil
}

// paceKey is the key of what is recorded of a code's polls.
func (s *Store) paceKey(id deviceauth.ID) string { return s.prefix + "p:" + id.String() }
