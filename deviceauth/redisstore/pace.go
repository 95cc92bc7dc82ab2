package redisstore

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// arrive notes a poll by the server's one clock, as [deviceauth.PollState] does by
// its own: early by less than a fifth is not early, and each early poll makes
// the interval longer, up to a bound.
var arrive = redis.NewScript(`
local t = redis.call("TIME")
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local known = redis.call("HMGET", KEYS[1], ARGV[1], "interval")
local interval = tonumber(known[2] or ARGV[2])
local early = 0
if ARGV[6] == "1" or known[1] and now - tonumber(known[1]) < interval * 4 / 5 then
	early, interval = 1, math.min(interval + tonumber(ARGV[3]), tonumber(ARGV[4]))
end
redis.call("HSET", KEYS[1], ARGV[1], now, "interval", interval)
redis.call("PEXPIREAT", KEYS[1], ARGV[5])
return {early, interval}`)

// RecordPoll implements [deviceauth.Cluster]. RFC 8628 §3.5: early polls make
// the interval longer by Step, usually 5 s. The first poll is never early. The
// key expires with the grant. interval is what the device has to keep from now
// on.
func (s *Store) RecordPoll(ctx context.Context, a deviceauth.Poll) (early bool, interval time.Duration, err error) {
	held := "0"
	if a.Held {
		held = "1"
	}
	answer, err := pair(arrive.Run(ctx, s.redis, []string{s.prefix + "p:" + a.Grant.String()},
		int(a.Method), a.Interval.Milliseconds(), a.Step.Milliseconds(), a.Most.Milliseconds(),
		a.Expires.UnixMilli(), held))
	if err != nil {
		return false, 0, wrap(err)
	}
	return answer[0] == 1, time.Duration(answer[1]) * time.Millisecond, nil
}
