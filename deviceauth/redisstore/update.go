package redisstore

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// swap replaces a value that is still what was read, and publishes the change. An
// empty expectation means that there must be none; no expiry, that it stays.
// Sent twice, as the library does in a Cluster when an answer is lost, it says
// yes twice.
var swap = redis.NewScript(`
local now = redis.call("GET", KEYS[1]) or ""
if now == ARGV[2] then return 1 end
if now ~= ARGV[1] then return 0 end
if ARGV[3] == "" then redis.call("SET", KEYS[1], ARGV[2])
else redis.call("SET", KEYS[1], ARGV[2], "PXAT", ARGV[3]) end
if ARGV[4] ~= "" then redis.call("PUBLISH", ARGV[4], ARGV[5]) end
return 1`)

// retryTimeout is how long a change waits for a server that has gone away,
// which a restart or the choice of a new master takes. It is below the
// time-outs of most clients. After that the caller answers 503 with
// Retry-After.
const retryTimeout = 3 * time.Second

// Update implements [deviceauth.Store]: compare and set, until no other change
// was made between. change may be called several times, each time with the newest
// record, and must have no effects of its own. The owner's index is written
// before the grant, see index.
func (s *Store) Update(ctx context.Context, id deviceauth.ID, change func(*deviceauth.Grant) error) error {
	defer s.changes.forget(id) // the news of it may take a moment to come back
	return s.retry(ctx, func(unanswered attempts) (*attempt, error) {
		g, old, err := s.read(ctx, id)
		if err != nil {
			return nil, err
		}
		if unanswered.arrived(old) {
			return &attempt{done: true}, nil
		}
		wasPending := g.State == deviceauth.Pending
		if err := change(g); err != nil {
			return nil, &refused{err: err}
		}
		value, err := encode(g)
		if err != nil {
			return nil, err
		}
		if g.Person != nil {
			if err := s.index(ctx, g); err != nil {
				return nil, err
			}
		}
		next := &attempt{value: value}
		err = s.swap(ctx, s.grantKey(id), old, next, expiry(g), s.prefix+"changes", message(g))
		if err == nil && next.done && wasPending && g.State != deviceauth.Pending {
			s.freeCode(ctx, g) // a hint: what is left of it expires with the code
		}
		return next, err
	})
}

// expiry is when the key of a grant may go. Redis wants milliseconds since
// 1970, as text, for PXAT.
func expiry(g *deviceauth.Grant) string {
	return strconv.FormatInt(g.KeepUntil().Add(margin).UnixMilli(), 10)
}

// noteOwner adds a grant to a person's, with when it may be forgotten, and
// drops those that have been: the key goes with the last of them.
var noteOwner = redis.NewScript(`
redis.call("ZREMRANGEBYSCORE", KEYS[1], "-inf", ARGV[1])
redis.call("ZADD", KEYS[1], ARGV[2], ARGV[3])
local last = redis.call("ZRANGE", KEYS[1], -1, -1, "WITHSCORES")
redis.call("PEXPIREAT", KEYS[1], last[2])
return 1`)

// index notes whose grant it is, before it is: an entry too many is looked at
// again, one too few would hide a device from its person.
func (s *Store) index(ctx context.Context, g *deviceauth.Grant) error {
	for _, owner := range g.Person.Owners() {
		if err := noteOwner.Run(ctx, s.redis, []string{s.ownerKey(owner)}, time.Now().UnixMilli(), expiry(g),
			g.ID.String()).Err(); err != nil {
			return wrap(err)
		}
	}
	return nil
}

// UpdateDocument implements [deviceauth.Documents]. A document that is left as
// it was costs no write. It never expires: signing keys are among the
// documents.
func (s *Store) UpdateDocument(ctx context.Context, name string, change func([]byte) ([]byte, error)) error {
	key := s.prefix + "v:" + name
	return s.retry(ctx, func(unanswered attempts) (*attempt, error) {
		text, err := s.redis.Get(ctx, key).Result()
		if err != nil && !errors.Is(err, redis.Nil) {
			return nil, wrap(err)
		}
		if unanswered.arrived(text) {
			return &attempt{done: true}, nil
		}
		var old []byte
		if err == nil {
			old = []byte(withoutNonce(text))
		}
		document, err := change(old)
		if err != nil {
			return nil, &refused{err: err}
		}
		if (old == nil) == (document == nil) && bytes.Equal(document, old) {
			return &attempt{done: true}, nil
		}
		next := &attempt{value: withNonce(document)}
		return next, s.swap(ctx, key, text, next, "", "", "")
	})
}

// LoadDocument implements [deviceauth.Documents]. nil and no error where there
// is none.
func (s *Store) LoadDocument(ctx context.Context, name string) ([]byte, error) {
	text, err := s.redis.Get(ctx, s.prefix+"v:"+name).Result()
	switch {
	case errors.Is(err, redis.Nil):
		return nil, nil
	case err != nil:
		return nil, wrap(err)
	}
	return []byte(withoutNonce(text)), nil
}

// PutDocument implements [deviceauth.Documents]. It overwrites without
// comparing: its documents, such as sealed sessions, have one writer at a
// time, and the last one counts.
func (s *Store) PutDocument(ctx context.Context, name string, document []byte, until time.Time) error {
	key := s.prefix + "v:" + name
	if document == nil || !time.Now().Before(until) {
		return wrap(s.redis.Del(ctx, key).Err())
	}
	return wrap(s.redis.SetArgs(ctx, key, withNonce(document), redis.SetArgs{ExpireAt: until}).Err())
}

// An attempt is a value that was sent. done says that the change is stored, by
// this attempt or by an earlier one.
type attempt struct {
	value      string
	done       bool
	unanswered bool // the connection broke before the answer
}

// attempts are those that may have arrived, or may yet: a server that was held
// up does in the end what it was sent before its client gave up on it. At most
// one of them ever arrives, because each expects to find what was there before.
type attempts []*attempt

// arrived reports whether a stored value is that of an attempt. The mark
// before every value makes the comparison exact.
func (list attempts) arrived(stored string) bool {
	return slices.ContainsFunc(list, func(a *attempt) bool { return a.value == stored })
}

// swap runs the script of the same name. channel and message may be empty, and no
// message is sent then, as with documents.
func (s *Store) swap(ctx context.Context, key, old string, a *attempt, expires, channel, message string) error {
	swapped, err := swap.Run(ctx, s.redis, []string{key}, old, a.value, expires, channel, message).Int()
	if err != nil {
		a.unanswered = true
		return wrap(err)
	}
	a.done = swapped == 1
	return nil
}

// refused carries the error of a change through as it is.
type refused struct{ err error }

func (r *refused) Error() string { return r.err.Error() }
func (r *refused) Unwrap() error { return r.err }

// retry tries until an attempt is done, the change refuses, or [retryTimeout] is over.
// A conflict is tried again at once, without a limit, since another gateway has
// made progress; a fault is tried again with pauses of 10 to 200 ms.
// ErrNotFound ends it, because a grant that is gone does not come back.
func (s *Store) retry(ctx context.Context, try func(unanswered attempts) (*attempt, error)) error {
	var unanswered attempts
	for deadline, pause := time.Now().Add(retryTimeout), 10*time.Millisecond; ; {
		next, err := try(unanswered)
		var no *refused
		switch {
		case errors.As(err, &no):
			return no.err
		case errors.Is(err, deviceauth.ErrNotFound):
			return deviceauth.ErrNotFound
		case err == nil && next.done:
			return nil
		case err == nil:
			continue // another change was made between
		case time.Now().After(deadline), ctx.Err() != nil:
			return err
		}
		if next != nil && next.unanswered {
			unanswered = append(unanswered, next)
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, 200*time.Millisecond)
		case <-ctx.Done():
		}
	}
}
