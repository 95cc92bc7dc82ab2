package redisstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// rounds bounds the work of a page: the keys of grants are among others, and a
// server may have other users.
const rounds = 10

// List implements [deviceauth.Store] by SCAN, in a Cluster over one master after
// the other. A grant may come twice; within a page it is dropped. A page may
// have more grants than were asked for, because SCAN does. While slots of a
// Cluster are being moved, those in them may be missed.
func (s *Store) List(ctx context.Context, after string, limit int) (list []*deviceauth.Grant, next string, err error) {
	servers, world, err := s.servers(ctx)
	if err != nil {
		return nil, "", err
	}
	at, err := parseCursor(after, world, len(servers))
	if err != nil {
		return nil, "", err
	}
	seen := map[string]bool{}
	for range rounds {
		keys, cursor, err := servers[at.server].Scan(ctx, at.cursor, literally(s.prefix)+"g:*",
			int64(max(limit-len(list), 1))).Result()
		if err != nil {
			return nil, "", wrap(err)
		}
		keys = slices.DeleteFunc(keys, func(key string) bool { twice := seen[key]; seen[key] = true; return twice })
		page, err := s.all(ctx, keys)
		if err != nil {
			return nil, "", err
		}
		list = append(list, page...)
		if at.cursor = cursor; cursor == 0 {
			at.server++
		}
		if at.server == len(servers) {
			return list, "", nil
		}
		if len(list) >= limit {
			break
		}
	}
	return list, at.String(), nil
}

// literally keeps the characters of a prefix from being a pattern's.
// An operator may choose any prefix.
func literally(prefix string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`, "]", `\]`).Replace(prefix)
}

// A cursor is where a listing goes on: a cursor of one of the servers. It means
// something only in the world that it was found in.
type cursor struct {
	topology string
	server   int
	cursor   uint64
}

func (p cursor) String() string { return fmt.Sprintf("%s.%d.%d", p.topology, p.server, p.cursor) }

// parseCursor reads a cursor. Any text may arrive here, as cursors come from
// the admin API. One of another world, of a server that is not there, or with
// other than two numbers is [deviceauth.ErrCursor].
func parseCursor(text, world string, servers int) (cursor, error) {
	p := cursor{topology: world}
	if text == "" {
		return p, nil
	}
	parts := strings.Split(text, ".")
	if len(parts) != 3 || parts[0] != world {
		return p, deviceauth.ErrCursor
	}
	server, serverErr := strconv.ParseUint(parts[1], 10, 16)
	cursor, cursorErr := strconv.ParseUint(parts[2], 10, 64)
	p.server, p.cursor = int(server), cursor
	if serverErr != nil || cursorErr != nil || p.server >= servers {
		return p, deviceauth.ErrCursor
	}
	return p, nil
}

// servers returns those that have grants, always in the same order, and a name
// for all that the cursors depend on: the processes, for another one has another
// hash, and who has which slots.
func (s *Store) servers(ctx context.Context) (list []redis.Cmdable, world string, err error) {
	byRun, err := s.byRun(ctx)
	if err != nil {
		return nil, "", err
	}
	var names []string
	for run := range byRun {
		names = append(names, run)
	}
	slices.Sort(names)
	for _, run := range names {
		list = append(list, byRun[run])
	}
	if cluster, ok := s.redis.(*redis.ClusterClient); ok {
		//lint:ignore SA1019 CLUSTER SHARDS, which is to be used instead, came with Redis 7
		slots, err := cluster.ClusterSlots(ctx).Result()
		if err != nil {
			return nil, "", wrap(err)
		}
		for _, slot := range slots {
			if len(slot.Nodes) > 0 {
				names = append(names, fmt.Sprint(slot.Start, slot.End, slot.Nodes[0].ID))
			}
		}
		slices.Sort(names)
	}
	sum := sha256.Sum256([]byte(strings.Join(names, " ")))
	return list, hex.EncodeToString(sum[:8]), nil
}

// byRun returns the servers by what each calls its own run. The run id changes
// with every start of a server process, and with it the hash seed by which
// SCAN orders keys.
func (s *Store) byRun(ctx context.Context) (map[string]redis.Cmdable, error) {
	var mu sync.Mutex
	all := map[string]redis.Cmdable{}
	note := func(ctx context.Context, server redis.Cmdable) error {
		info, err := server.Info(ctx, "server").Result()
		if err != nil {
			return wrap(err)
		}
		_, rest, _ := strings.Cut(info, "run_id:")
		run, _, _ := strings.Cut(rest, "\r\n")
		mu.Lock()
		defer mu.Unlock()
		all[run] = server
		return nil
	}
	if cluster, ok := s.redis.(*redis.ClusterClient); ok {
		err := cluster.ForEachMaster(ctx,
			func(ctx context.Context, master *redis.Client) error { return note(ctx, master) })
		return all, err
	}
	return all, note(ctx, s.redis)
}
