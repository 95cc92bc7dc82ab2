// Package redisstore stores grants in Redis or Valkey, standalone, with Sentinels or
// as a Cluster, so that several gateways can serve one issuer. It makes no decisions
// about grants. Everything that must be atomic is in one key; the other keys are
// hints, which are checked against the grant.
//
// Keys, below a prefix:
//
//	g:<id>       the grant, as JSON
//	c:<code>     the id of the pending grant that has the user code
//	s:<owner>    the ids of a person's grants (the owner as a digest)
//	p:<id>       when the device last polled, and its polling interval
//	n:<what>     a counter of events (a digest), such as wrong codes
//	v:<name>     a document of the store
//
// All keys but the documents expire. On the channel <prefix>changes the ids of
// changed grants are published, for held polls and for the cache of grants.
package redisstore

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// Store is a [deviceauth.Cluster], which Open returns. It is safe for
// concurrent use. If the server is unreachable reads fail within a second and changes
// after at most 4 s, and the engine answers such a fault with temporarily_unavailable.
type Store struct {
	redis   redis.UniversalClient
	prefix  string
	changes *changes
}

var _ deviceauth.Cluster = (*Store)(nil)

// Open connects to the server, and logs what about its settings may lose grants. A
// nil log logs nothing. Open fails with [ErrAway] if no server responds within some
// seconds, and with another error if the options are wrong, the version is below 6.2,
// or maxmemory-policy is one that evicts keys. The caller must close the store.
func Open(ctx context.Context, o Options, log *slog.Logger) (*Store, error) {
	silenceLibrary()
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	client, err := o.client()
	if err != nil {
		return nil, err
	}
	away := new(atomic.Pointer[error])
	addDeadlines(client, deadlines{away: away})
	s := &Store{redis: client, prefix: o.prefix()}
	if err := s.checkServer(ctx, log); err != nil {
		client.Close()
		return nil, err
	}
	s.changes = subscribe(client, s.prefix+"changes", away, log)
	return s, nil
}

// silenceLibrary keeps the library from writing to standard error by itself. The
// store logs once that a server is unreachable.
var silenceLibrary = sync.OnceFunc(func() { redis.SetLogger(noLogger{}) })

type noLogger struct{}

func (noLogger) Printf(context.Context, string, ...any) {}

// Close implements [deviceauth.Store]. It waits until the subscription has ended; no
// callback of OnChange runs after it.
func (s *Store) Close() error {
	s.changes.close()
	return s.redis.Close()
}

func (s *Store) grantKey(id deviceauth.ID) string { return s.prefix + "g:" + id.String() }

func (s *Store) codeKey(code deviceauth.UserCode) string { return s.prefix + "c:" + string(code) }

func (s *Store) ownerKey(owner string) string {
	return s.prefix + "s:" + digest(owner)
}

func (s *Store) countKey(what string) string { return s.prefix + "n:" + digest(what) }

// digest returns the first 128 bits of the SHA-256 of a text. Owners are subjects of
// an upstream, and counters are named by subjects, sessions and addresses; none of
// these may be part of a key, because MONITOR and KEYS show keys.
func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// margin is how long a key outlives its grant, because clocks differ.
const margin = time.Minute

// Create implements [deviceauth.Store]. The keys of grant and user code may be on two
// servers of a Cluster, so both are written in one pipeline, and the grant is deleted
// again if another grant has the code: until then no client knows its id.
func (s *Store) Create(ctx context.Context, g *deviceauth.Grant) error {
	value, err := encode(g)
	if err != nil {
		return err
	}
	if g.Redirect != "" { // an authorization code grant, which has no user code
		taken, err := s.redis.SetNX(ctx, s.grantKey(g.ID), value, ttl(g.KeepUntil().Add(margin))).Result()
		if err == nil && !taken {
			return deviceauth.ErrExists
		}
		return wrap(err)
	}
	var grant, code *redis.BoolCmd
	_, err = s.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		grant = p.SetNX(ctx, s.grantKey(g.ID), value, ttl(g.KeepUntil().Add(margin)))
		code = p.SetNX(ctx, s.codeKey(g.UserCode), g.ID.String(), ttl(g.Expires))
		return nil
	})
	if err != nil {
		return wrap(err)
	}
	// If only one of the two writes succeeded it is undone, and the caller tries
	// another code.
	switch {
	case grant.Val() && code.Val():
		return nil
	case grant.Val():
		err = s.redis.Del(ctx, s.grantKey(g.ID)).Err()
	case code.Val():
		err = s.freeCode(ctx, g)
	}
	if err != nil {
		return wrap(err)
	}
	return deviceauth.ErrExists
}

// ttl returns the time until a key expires, at least a millisecond: with 0 go-redis
// sends no expiry, and the key would never expire.
func ttl(until time.Time) time.Duration { return max(time.Until(until), time.Millisecond) }

// deleteIf deletes a key if it has a certain value. A client that sent GET and then
// DEL could delete the code of another grant that took it in between.
var deleteIf = redis.NewScript(
	`if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("DEL", KEYS[1]) end return 0`)

// freeCode releases the user code of a grant, unless another grant has taken it
// since.
func (s *Store) freeCode(ctx context.Context, g *deviceauth.Grant) error {
	return deleteIf.Run(ctx, s.redis, []string{s.codeKey(g.UserCode)}, g.ID.String()).Err()
}

// Get implements [deviceauth.Store]. It uses the cache while that is current, see
// changes; so most requests to a guard need no round trip.
func (s *Store) Get(ctx context.Context, id deviceauth.ID) (*deviceauth.Grant, error) {
	g, fetch := s.changes.get(id)
	if g != nil {
		return g, nil
	}
	defer fetch.end()
	g, _, err := s.read(ctx, id)
	if err == nil {
		fetch.keep(g)
	}
	return g, err
}

// read returns a grant, and its text as it is stored, with which swap compares byte
// by byte.
func (s *Store) read(ctx context.Context, id deviceauth.ID) (*deviceauth.Grant, string, error) {
	text, err := s.redis.Get(ctx, s.grantKey(id)).Result()
	if err != nil {
		return nil, "", wrap(err)
	}
	g, err := decodeGrant(id, text)
	if err != nil { // no retry makes the record readable
		return nil, "", &permanentError{err: err}
	}
	return g, text, nil
}

// ByUserCode implements [deviceauth.Store]. The key of a code is a hint, which may
// outlive the decision by a moment, so the grant itself is checked.
func (s *Store) ByUserCode(ctx context.Context, code deviceauth.UserCode) (*deviceauth.Grant, error) {
	text, err := s.redis.Get(ctx, s.codeKey(code)).Result()
	if err != nil {
		return nil, wrap(err)
	}
	id, err := deviceauth.ParseID(text)
	if err != nil {
		return nil, fmt.Errorf("redis store: the key of a user code: %w", err)
	}
	g, _, err := s.read(ctx, id)
	if err != nil {
		return nil, err
	}
	if g.State != deviceauth.Pending || g.UserCode != code {
		return nil, deviceauth.ErrNotFound
	}
	return g, nil
}

// ByOwner implements [deviceauth.Store]. With the error of a record that cannot be
// read it returns the other grants, so that a person who signs out ends at least
// those.
func (s *Store) ByOwner(ctx context.Context, owner string) (list []*deviceauth.Grant, err error) {
	ids, err := s.redis.ZRange(ctx, s.ownerKey(owner), 0, -1).Result()
	if err != nil {
		return nil, wrap(err)
	}
	for i, id := range ids {
		ids[i] = s.prefix + "g:" + id
	}
	list, err = s.getAll(ctx, ids)
	list = slices.DeleteFunc(list, func(g *deviceauth.Grant) bool {
		return g.Person == nil || !slices.Contains(g.Person.Owners(), owner)
	})
	slices.SortFunc(list, func(a, b *deviceauth.Grant) int { return a.Created.Compare(b.Created) })
	return list, err
}

// getAll returns the grants of some keys. It leaves out, without an error, those that
// are gone, for example because they expired meanwhile. For records that cannot be
// read it returns the joined errors together with the other grants. The keys are read
// in one pipeline, which a Cluster client splits by server.
func (s *Store) getAll(ctx context.Context, keys []string) (list []*deviceauth.Grant, err error) {
	texts := make([]*redis.StringCmd, len(keys))
	_, err = s.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, key := range keys {
			texts[i] = p.Get(ctx, key)
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, wrap(err)
	}
	var faults []error
	for i, text := range texts {
		if errors.Is(text.Err(), redis.Nil) {
			continue
		}
		if text.Err() != nil {
			return nil, wrap(text.Err())
		}
		id, err := deviceauth.ParseID(strings.TrimPrefix(keys[i], s.prefix+"g:"))
		if err != nil {
			continue // another program's key: no id has it
		}
		g, err := decodeGrant(id, text.Val())
		if err != nil {
			faults = append(faults, err)
			continue
		}
		list = append(list, g)
	}
	return list, errors.Join(faults...)
}
