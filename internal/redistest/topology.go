package redistest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// Several servers: Clusters, and masters that Sentinels monitor.

const slots = 16384 // of a Cluster, by the specification

// Cluster starts three servers that form a Cluster. Each has a third of the
// slots and no replica. The bus ports are those of the servers plus 10000.
func Cluster(t testing.TB) (servers []*Server) {
	t.Helper()
	const nodes = 3
	for range nodes {
		servers = append(servers, Start(t, "--cluster-enabled", "yes"))
	}
	ctx := t.Context()
	// Each server is given its slots, and meets the first one, which tells it of the others.
	for i, s := range servers {
		s.with(func(c *redis.Client) {
			if err := c.ClusterAddSlotsRange(ctx, i*slots/nodes, (i+1)*slots/nodes-1).Err(); err != nil {
				t.Fatal(err)
			}
			if err := c.ClusterMeet(ctx, "127.0.0.1", strconv.Itoa(servers[0].port)).Err(); err != nil {
				t.Fatal(err)
			}
		})
	}
	for _, s := range servers {
		s.until("the cluster is whole", func(ctx context.Context, c *redis.Client) bool {
			info := c.ClusterInfo(ctx).Val()
			return strings.Contains(info, "cluster_state:ok") &&
				strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d", nodes))
		})
	}
	return servers
}

// ClusterOfOne starts a server that is a Cluster by itself. It tells clients the address of
// another program on loopback, such as a proxy before it.
func ClusterOfOne(t testing.TB, announcedPort int) *Server {
	t.Helper()
	// Clients of a Cluster connect to the address that is announced, and not to ours.
	s := Start(t, "--cluster-enabled", "yes", "--cluster-announce-ip", "127.0.0.1",
		"--cluster-announce-port", strconv.Itoa(announcedPort))
	s.with(func(c *redis.Client) {
		if err := c.ClusterAddSlotsRange(t.Context(), 0, slots-1).Err(); err != nil {
			t.Fatal(err)
		}
	})
	s.until("the cluster is whole", func(ctx context.Context, c *redis.Client) bool {
		return strings.Contains(c.ClusterInfo(ctx).Val(), "cluster_state:ok")
	})
	return s
}

// Sentinel starts a master, a replica and a Sentinel that watches them, and
// returns the master and the Sentinel. The master's name is mymaster. The
// time-outs are half a second and two seconds, so that a failover is over
// before a test is.
func Sentinel(t testing.TB) (master, sentinel *Server) {
	t.Helper()
	master = Start(t)
	replica := Start(t, "--replicaof", "127.0.0.1", strconv.Itoa(master.port))
	replica.until("the replica follows", func(ctx context.Context, c *redis.Client) bool {
		return strings.Contains(c.Info(ctx, "replication").Val(), "master_link_status:up")
	})
	return master, SentinelOf(t, master)
}

// SentinelOf starts a Sentinel that watches a master with a replica, beside
// others that may watch it. Its settings are those of [Sentinel].
func SentinelOf(t testing.TB, master *Server) *Server {
	t.Helper()
	sentinel := &Server{t: t, dir: t.TempDir(), port: freePort(t)}
	t.Cleanup(sentinel.Kill)
	config := filepath.Join(sentinel.dir, "sentinel.conf")
	// The Sentinel decides alone (quorum 1), half a second after the master became silent.
	text := fmt.Sprintf("port %d\nbind 127.0.0.1\ndir %s\nsentinel monitor mymaster 127.0.0.1 %d 1\n"+
		"sentinel down-after-milliseconds mymaster 500\nsentinel failover-timeout mymaster 2000\n",
		sentinel.port, sentinel.dir, master.port)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	sentinel.run(config, "--sentinel")
	sentinel.until("the Sentinel knows the replica", func(ctx context.Context, c *redis.Client) bool {
		return strings.Contains(c.Info(ctx, "sentinel").Val(), "slaves=1")
	})
	return sentinel
}

// Monitor has a Sentinel name another master. The connections to the earlier one stay open.
func (s *Server) Monitor(master *Server) {
	s.t.Helper()
	s.with(func(c *redis.Client) {
		ctx := context.Background()
		err := errors.Join(c.Do(ctx, "SENTINEL", "REMOVE", "mymaster").Err(),
			c.Do(ctx, "SENTINEL", "MONITOR", "mymaster", "127.0.0.1", strconv.Itoa(master.port), "1").Err())
		if err != nil {
			s.t.Fatal(err)
		}
	})
}
