package redisstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// swap replaces a value that is still what was read, and tells who listens. An
// empty expectation means that there must be none; no expiry, that it stays.
var swap = redis.NewScript(`
local now = redis.call("GET", KEYS[1]) or ""
if now ~= ARGV[1] then return 0 end
if ARGV[3] == "" then redis.call("SET", KEYS[1], ARGV[2])
else redis.call("SET", KEYS[1], ARGV[2], "PXAT", ARGV[3]) end
if ARGV[4] ~= "" then redis.call("PUBLISH", ARGV[4], ARGV[5]) end
return 1`)

// patience is how long a change waits for a server that has gone away, which
// a restart or the choice of a new master takes. It is below the time-outs of
// most clients.
const patience = 3 * time.Second

// Update implements [deviceauth.Store]: compare and set, until nobody came
// between.
func (s *Store) Update(ctx context.Context, id deviceauth.ID, change func(*deviceauth.Grant) error) error {
	return s.insist(ctx, func(earlier *attempt) (*attempt, error) {
		g, old, err := s.read(ctx, id)
		if err != nil {
			return nil, err
		}
		if earlier.arrived(old) {
			return earlier, nil
		}
		hadPerson, wasPending := g.Person != nil, g.State == deviceauth.Pending
		if err := change(g); err != nil {
			return nil, &refused{err}
		}
		value, err := json.Marshal(g)
		if err != nil {
			return nil, fmt.Errorf("redis store: encoding a grant: %w", err)
		}
		if !hadPerson && g.Person != nil {
			if err := s.index(ctx, g); err != nil {
				return nil, err
			}
		}
		next := &attempt{value: string(value)}
		err = s.swap(ctx, s.grantKey(id), old, next, expiry(g), s.prefix+"changes", message(g))
		if err == nil && next.done && wasPending && g.State != deviceauth.Pending {
			s.freeCode(ctx, g) // a hint: what is left of it expires with the code
		}
		return next, err
	})
}

func expiry(g *deviceauth.Grant) string {
	return strconv.FormatInt(g.KeepUntil().Add(margin).UnixMilli(), 10)
}

// index notes whose grant it is, before it is: an entry too many is looked at
// again, one too few would hide a device from its person.
func (s *Store) index(ctx context.Context, g *deviceauth.Grant) error {
	key, now := s.subjectKey(g.Person.Subject), time.Now()
	const longest = 10 * 366 * 24 * time.Hour // no grant lives longer: deviceauth sees to that
	_, err := s.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.ZRemRangeByScore(ctx, key, "-inf", strconv.FormatInt(now.Add(-longest).UnixMilli(), 10))
		p.ZAdd(ctx, key, redis.Z{Score: float64(g.Created.UnixMilli()), Member: g.ID.String()})
		p.Expire(ctx, key, longest)
		return nil
	})
	return wrap(err)
}

// Change implements [deviceauth.Vault].
func (s *Store) Change(ctx context.Context, name string, change func([]byte) ([]byte, error)) error {
	key := s.prefix + "v:" + name
	return s.insist(ctx, func(earlier *attempt) (*attempt, error) {
		text, err := s.redis.Get(ctx, key).Result()
		if err != nil && !errors.Is(err, redis.Nil) {
			return nil, wrap(err)
		}
		if earlier.arrived(text) {
			return earlier, nil
		}
		var old []byte
		if err == nil {
			old = []byte(text)
		}
		document, err := change(old)
		if err != nil {
			return nil, &refused{err}
		}
		next := &attempt{value: string(document), done: string(document) == text}
		if next.done {
			return next, nil
		}
		return next, s.swap(ctx, key, text, next, "", "", "")
	})
}

// An attempt is a value that was sent. Whether it arrived is not known where
// the connection broke before the answer.
type attempt struct {
	value   string
	done    bool
	unknown bool
}

// arrived reports whether an attempt of which nothing was heard is what is
// stored now.
func (a *attempt) arrived(stored string) bool {
	if a != nil && a.unknown && a.value == stored {
		a.done = true
		return true
	}
	return false
}

func (s *Store) swap(ctx context.Context, key, old string, a *attempt, expires, channel, message string) error {
	swapped, err := swap.Run(ctx, s.redis, []string{key}, old, a.value, expires, channel, message).Int()
	if err != nil {
		a.unknown = true
		return wrap(err)
	}
	a.done = swapped == 1
	return nil
}

// refused carries the error of a change through as it is.
type refused struct{ err error }

func (r *refused) Error() string { return r.err.Error() }

// insist tries until an attempt is done, the change refuses, or patience ends.
func (s *Store) insist(ctx context.Context, try func(earlier *attempt) (*attempt, error)) error {
	var earlier *attempt
	for deadline, pause := time.Now().Add(patience), 10*time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		next, err := try(earlier)
		var no *refused
		switch {
		case errors.As(err, &no):
			return no.err
		case errors.Is(err, deviceauth.ErrNotFound):
			return deviceauth.ErrNotFound
		case err == nil && next.done:
			return nil
		case err == nil:
			earlier, pause = nil, 0 // somebody came between: at once again
			continue
		case time.Now().After(deadline), ctx.Err() != nil:
			return err
		}
		if next != nil {
			earlier = next
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}
