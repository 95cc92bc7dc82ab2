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

// swap replaces a value if it is still the expected one, and publishes the change. An
// empty expected value means that the key must not exist; without an expiry the key
// never expires. The library sends a command of a Cluster again if the response was
// lost; the script then returns 1 both times.
var swap = redis.NewScript(`
local now = redis.call("GET", KEYS[1]) or ""
if now == ARGV[2] then return 1 end
if now ~= ARGV[1] then return 0 end
if ARGV[3] == "" then redis.call("SET", KEYS[1], ARGV[2])
else redis.call("SET", KEYS[1], ARGV[2], "PXAT", ARGV[3]) end
if ARGV[4] ~= "" then redis.call("PUBLISH", ARGV[4], ARGV[5]) end
return 1`)

// retryTimeout is how long a change is retried while the server is unreachable, as it
// is during a restart or a failover. It is below the timeouts of most clients. After
// it the caller responds with 503 and Retry-After.
const retryTimeout = 3 * time.Second

// Update implements [deviceauth.Store] by compare-and-set, which it repeats until no
// other change came in between. It may call change several times, each time with the
// newest record, so change must have no side effects. The index of the owner is
// written before the grant, see indexOwners.
func (s *Store) Update(ctx context.Context, id deviceauth.ID, change func(*deviceauth.Grant) error) error {
	defer s.changes.forget(id) // the change message may take a moment to come back
	return s.retry(ctx, func(unanswered attempts) (*attempt, error) {
		g, old, err := s.read(ctx, id)
		if err != nil {
			return nil, err
		}
		if unanswered.wrote(old) {
			return &attempt{done: true}, nil
		}
		wasPending := g.State == deviceauth.Pending
		if err := change(g); err != nil {
			return nil, &permanentError{err: err}
		}
		value, err := encode(g)
		if err != nil {
			return nil, err
		}
		if g.Person != nil {
			if err := s.indexOwners(ctx, g); err != nil {
				return nil, err
			}
		}
		next := &attempt{value: value}
		err = s.swap(ctx, s.grantKey(id), old, next, expiry(g), s.prefix+"changes", message(g))
		if err == nil && next.done && wasPending && g.State != deviceauth.Pending {
			s.freeCode(ctx, g) // a hint: if this fails, the key expires with the code
		}
		return next, err
	})
}

// expiry returns when the key of a grant expires, as PXAT wants it: milliseconds
// since 1970.
func expiry(g *deviceauth.Grant) string {
	return strconv.FormatInt(g.KeepUntil().Add(margin).UnixMilli(), 10)
}

// addToOwner adds a grant to the index of a person, with the time when the grant
// expires, and removes entries that have expired. The key expires with the last
// entry.
var addToOwner = redis.NewScript(`
redis.call("ZREMRANGEBYSCORE", KEYS[1], "-inf", ARGV[1])
redis.call("ZADD", KEYS[1], ARGV[2], ARGV[3])
local last = redis.call("ZRANGE", KEYS[1], -1, -1, "WITHSCORES")
redis.call("PEXPIREAT", KEYS[1], last[2])
return 1`)

// indexOwners adds the grant to the indexes of its person, before the grant is
// written: an entry too many is checked when it is read, but a missing one would hide
// a device from the person.
func (s *Store) indexOwners(ctx context.Context, g *deviceauth.Grant) error {
	for _, owner := range g.Person.Owners() {
		if err := addToOwner.Run(ctx, s.redis, []string{s.ownerKey(owner)}, time.Now().UnixMilli(), expiry(g),
			g.ID.String()).Err(); err != nil {
			return wrap(err)
		}
	}
	return nil
}

// UpdateDocument implements [deviceauth.Documents]. It does not write an unchanged
// document. Documents that it writes never expire: the signing keys are among them.
func (s *Store) UpdateDocument(ctx context.Context, name string, change func([]byte) ([]byte, error)) error {
	key := s.prefix + "v:" + name
	return s.retry(ctx, func(unanswered attempts) (*attempt, error) {
		text, err := s.redis.Get(ctx, key).Result()
		if err != nil && !errors.Is(err, redis.Nil) {
			return nil, wrap(err)
		}
		if unanswered.wrote(text) {
			return &attempt{done: true}, nil
		}
		var old []byte
		if err == nil {
			old = []byte(withoutNonce(text))
		}
		document, err := change(old)
		if err != nil {
			return nil, &permanentError{err: err}
		}
		if (old == nil) == (document == nil) && bytes.Equal(document, old) {
			return &attempt{done: true}, nil
		}
		next := &attempt{value: withNonce(document)}
		return next, s.swap(ctx, key, text, next, "", "", "")
	})
}

// LoadDocument implements [deviceauth.Documents]. It returns nil and no error if
// there is no such document.
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

// PutDocument implements [deviceauth.Documents]. It overwrites without comparing: its
// documents, such as sealed sessions, have one writer at a time, and the last write
// counts.
func (s *Store) PutDocument(ctx context.Context, name string, document []byte, until time.Time) error {
	key := s.prefix + "v:" + name
	if document == nil || !time.Now().Before(until) {
		return wrap(s.redis.Del(ctx, key).Err())
	}
	return wrap(s.redis.SetArgs(ctx, key, withNonce(document), redis.SetArgs{ExpireAt: until}).Err())
}

// An attempt is a value that was sent to the server. done is set if the change is
// stored, by this attempt or by an earlier one.
type attempt struct {
	value      string
	done       bool
	unanswered bool // the connection failed before the response
}

// attempts are those whose write may have been executed, or may still be: a stalled
// server executes a command even after its client has given up on it. At most one of
// them is ever executed, because each expects the value that was there before.
type attempts []*attempt

// wrote reports whether a stored value is that of an attempt. The nonce before every
// value makes the comparison exact.
func (list attempts) wrote(stored string) bool {
	return slices.ContainsFunc(list, func(a *attempt) bool { return a.value == stored })
}

// swap runs the script of the same name. With an empty channel, as for documents, it
// publishes no message.
func (s *Store) swap(ctx context.Context, key, old string, a *attempt, expires, channel, message string) error {
	swapped, err := swap.Run(ctx, s.redis, []string{key}, old, a.value, expires, channel, message).Int()
	if err != nil {
		a.unanswered = true
		return wrap(err)
	}
	a.done = swapped == 1
	return nil
}

// permanentError wraps an error after which retry must not try again.
type permanentError struct{ err error }

func (r *permanentError) Error() string { return r.err.Error() }
func (r *permanentError) Unwrap() error { return r.err }

// retry repeats try until an attempt is done, try returns a permanentError or
// ErrNotFound, or [retryTimeout] is over. It repeats a conflict at once and without a
// limit, because another gateway has made progress, and a fault after pauses of 10 to
// 200 ms. ErrNotFound ends it because a deleted grant does not come back.
func (s *Store) retry(ctx context.Context, try func(unanswered attempts) (*attempt, error)) error {
	var unanswered attempts
	for deadline, pause := time.Now().Add(retryTimeout), 10*time.Millisecond; ; {
		next, err := try(unanswered)
		var no *permanentError
		switch {
		case errors.As(err, &no):
			return no.err
		case errors.Is(err, deviceauth.ErrNotFound):
			return deviceauth.ErrNotFound
		case err == nil && next.done:
			return nil
		case err == nil:
			continue // another change was written in between
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
