package redisstore

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// recordPoll stores the time of a poll by the clock of the server, which all gateways
// share. It returns how many milliseconds ago the previous poll was, or -1 if there
// was none, and the code's polling interval. If the clock was set back it returns 0
// milliseconds.
var recordPoll = redis.NewScript(`
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
	answer, err := pair(recordPoll.Run(ctx, s.redis, []string{s.pollsKey(p.Grant)},
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

// setInterval replaces the interval if it is still the expected one. It creates no
// missing key, which would never expire.
var setInterval = redis.NewScript(`
local was = redis.call("HGET", KEYS[1], "interval")
if was == ARGV[1] then redis.call("HSET", KEYS[1], "interval", ARGV[2]) end
return tonumber(was or ARGV[1])`)

// SetInterval implements [deviceauth.Cluster].
func (s *Store) SetInterval(ctx context.Context, id deviceauth.ID, from, to time.Duration) (time.Duration, error) {
	was, err := setInterval.Run(ctx, s.redis, []string{s.pollsKey(id)}, from.Milliseconds(), to.Milliseconds()).Int64()
	if err != nil {
		return 0, wrap(err)
	}
	return time.Duration(was) * time.Millisecond, nil
}

// pollsKey returns the key of the polls that are recorded for a device code.
func (s *Store) pollsKey(id deviceauth.ID) string { return s.prefix + "p:" + id.String() }
