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

// maxScans bounds the SCAN commands for one page: keys of grants are mixed with other
// keys, and the server may also be used by other programs.
const maxScans = 10

// List implements [deviceauth.Store] by SCAN, in a Cluster on one master after the
// other. SCAN may return a grant twice; a duplicate within a page is dropped. A page
// may have more grants than limit, because SCAN returns more keys than it is asked
// for. Grants in slots of a Cluster that are being moved may be missed.
func (s *Store) List(ctx context.Context, after string, limit int) (list []*deviceauth.Grant, next string, err error) {
	servers, topology, err := s.servers(ctx)
	if err != nil {
		return nil, "", err
	}
	at, err := parseCursor(after, topology, len(servers))
	if err != nil {
		return nil, "", err
	}
	seen := map[string]bool{}
	for range maxScans {
		keys, cursor, err := servers[at.server].Scan(ctx, at.cursor, escapeGlob(s.prefix)+"g:*",
			int64(max(limit-len(list), 1))).Result()
		if err != nil {
			return nil, "", wrap(err)
		}
		keys = slices.DeleteFunc(keys, func(key string) bool { twice := seen[key]; seen[key] = true; return twice })
		page, err := s.getAll(ctx, keys)
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

// escapeGlob escapes the characters of a prefix that have a meaning in the pattern of
// SCAN. An operator may choose any prefix.
func escapeGlob(prefix string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`, "]", `\]`).Replace(prefix)
}

// A cursor is the position at which a listing continues: a SCAN cursor of one of the
// servers. It is valid only in the topology in which it was made.
type cursor struct {
	topology string
	server   int
	cursor   uint64
}

func (p cursor) String() string { return fmt.Sprintf("%s.%d.%d", p.topology, p.server, p.cursor) }

// parseCursor parses a cursor. The admin API passes on any text as a cursor, so one
// of another topology, of a server that does not exist, or with anything but two
// numbers is [deviceauth.ErrCursor].
func parseCursor(text, topology string, servers int) (cursor, error) {
	p := cursor{topology: topology}
	if text == "" {
		return p, nil
	}
	parts := strings.Split(text, ".")
	if len(parts) != 3 || parts[0] != topology {
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

// servers returns the servers that store grants, always in the same order, and a
// digest of the topology on which cursors depend: the run ids of the servers, because
// another process has another hash seed, and the assignment of slots.
func (s *Store) servers(ctx context.Context) (list []redis.Cmdable, topology string, err error) {
	byRun, err := s.serversByRunID(ctx)
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

// serversByRunID returns the servers by their run id. The run id changes with every
// start of a server process, and so does the hash seed that determines the order of
// SCAN.
func (s *Store) serversByRunID(ctx context.Context) (map[string]redis.Cmdable, error) {
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
