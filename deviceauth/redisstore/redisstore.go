// Package redisstore remembers grants in Redis or Valkey, alone, behind
// Sentinels or as a Cluster, so that several gateways can serve one issuer. It
// decides nothing about grants. All that must be atomic is inside one key; the
// other keys are hints that are looked at again.
//
// Keys, below a prefix:
//
//	g:<id>       the grant, as JSON
//	c:<code>     the id of the grant that waits for the user code
//	s:<owner>    the ids of a person's grants (the owner as a digest)
//	p:<id>       how often the device asks
//	n:<what>     how often something happened (a digest), such as wrong codes
//	v:<name>     a document of the store
//
// Everything but the store expires by itself. The channel <prefix>changes says
// which grants change, for held polls and for the grants kept in memory.
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
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// Store is a [deviceauth.Cluster] backend. Open opens one. It may be used by
// any number of goroutines. A server that is away makes the operations fail
// after at most 3 s; the engine answers such a fault as
// temporarily_unavailable.
type Store struct {
	redis   redis.UniversalClient
	prefix  string
	changes *changes
}

var _ deviceauth.Cluster = (*Store)(nil)

// Open connects, and says in the log what about the server might lose grants.
// log hears of trouble; nil: no log. It fails with [ErrAway] where no server
// answers within some seconds, and with another error where the options are
// wrong, the version is below 6.2, or maxmemory-policy is one that evicts
// keys. The caller closes the store.
func Open(ctx context.Context, o Options, log *slog.Logger) (*Store, error) {
	quieten()
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	client, err := o.client()
	if err != nil {
		return nil, err
	}
	s := &Store{redis: client, prefix: o.prefix()}
	if err := s.checkServer(ctx, log); err != nil {
		client.Close()
		return nil, err
	}
	s.changes = subscribe(client, s.prefix+"changes", log)
	return s, nil
}

// quieten keeps the library from writing to standard error by itself; that a
// server is away is said in the log, once.
var quieten = sync.OnceFunc(func() { redis.SetLogger(noLogger{}) })

type noLogger struct{}

func (noLogger) Printf(context.Context, string, ...any) {}

// Close implements [deviceauth.Store]. It waits until nothing is listened to
// any more; no callback of OnChange runs after it.
func (s *Store) Close() error {
	s.changes.close()
	return s.redis.Close()
}

func (s *Store) grantKey(id deviceauth.ID) string { return s.prefix + "g:" + id.String() }

func (s *Store) codeKey(code deviceauth.UserCode) string { return s.prefix + "c:" + string(code) }

func (s *Store) ownerKey(owner string) string {
	return s.prefix + "s:" + short(owner)
}

func (s *Store) countKey(what string) string { return s.prefix + "n:" + short(what) }

// short returns a digest of a text: the first 128 bits of its SHA-256. Owners are subjects of
// an upstream, and what is counted are addresses and codes; none of these may stand in a key,
// because MONITOR and KEYS show keys.
func short(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// margin is what a key outlives its use, for clocks that differ.
const margin = time.Minute

// Create implements [deviceauth.Store]. Grant and user code may be on two
// servers of a Cluster. The grant is written beside the code, and taken back
// where the code is another grant's: its id is not known yet.
func (s *Store) Create(ctx context.Context, g *deviceauth.Grant) error {
	value, err := encode(g)
	if err != nil {
		return err
	}
	if g.Redirect != "" { // of a login in the browser, whose code is its id
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
	// Only one of both writes may have succeeded: the other is taken back, and
	// the caller tries another code.
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

// ttl is never none, which would mean for ever. An argument of 0 makes
// go-redis send no expiry at all.
func ttl(until time.Time) time.Duration { return max(time.Until(until), time.Millisecond) }

// deleteIf deletes a key that has a certain value. Between a GET and a DEL of
// a client another grant could have taken the code.
var deleteIf = redis.NewScript(
	`if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("DEL", KEYS[1]) end return 0`)

// freeCode gives the user code back, unless another grant has it by now.
func (s *Store) freeCode(ctx context.Context, g *deviceauth.Grant) error {
	return deleteIf.Run(ctx, s.redis, []string{s.codeKey(g.UserCode)}, g.ID.String()).Err()
}

// Get implements [deviceauth.Store]. The copy in memory is used while changes
// are heard of every 800 ms, see changes; so most calls of a guard cost no
// round trip.
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

// read returns a grant, and its text as it is stored. The text is what swap
// compares with, byte by byte.
func (s *Store) read(ctx context.Context, id deviceauth.ID) (*deviceauth.Grant, string, error) {
	text, err := s.redis.Get(ctx, s.grantKey(id)).Result()
	if err != nil {
		return nil, "", wrap(err)
	}
	g, err := own(id, text)
	if err != nil { // it does not heal while one waits
		return nil, "", &refused{err: err}
	}
	return g, text, nil
}

// ByUserCode implements [deviceauth.Store]. The code's key is a hint: it may
// outlive the decision by a moment. So the grant itself has the last word.
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

// ByOwner implements [deviceauth.Store]. Beside the error of a record that cannot be
// read it returns the others: a person who signs out ends those at least.
func (s *Store) ByOwner(ctx context.Context, owner string) (list []*deviceauth.Grant, err error) {
	ids, err := s.redis.ZRange(ctx, s.ownerKey(owner), 0, -1).Result()
	if err != nil {
		return nil, wrap(err)
	}
	for i, id := range ids {
		ids[i] = s.prefix + "g:" + id
	}
	list, err = s.all(ctx, ids)
	list = slices.DeleteFunc(list, func(g *deviceauth.Grant) bool {
		return g.Person == nil || !slices.Contains(g.Person.Owners(), owner)
	})
	slices.SortFunc(list, func(a, b *deviceauth.Grant) int { return a.Created.Compare(b.Created) })
	return list, err
}

// all returns the grants of some keys, without those that are gone. Of those
// that cannot be read it returns the errors, beside the others. One pipeline
// reads them, which a Cluster client splits by server. A grant that expired
// between is left out without an error.
func (s *Store) all(ctx context.Context, keys []string) (list []*deviceauth.Grant, err error) {
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
			continue // no key of ours: nothing finds a grant under it
		}
		g, err := own(id, text.Val())
		if err != nil {
			faults = append(faults, err)
			continue
		}
		list = append(list, g)
	}
	return list, errors.Join(faults...)
}
