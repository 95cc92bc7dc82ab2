package redisstore

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// The time limits of a command, including the wait for a connection.
const (
	commandTimeout = ioTimeout
	getTimeout     = 900 * time.Millisecond // a guard that cannot decide must respond within a second
)

// deadlines is a hook of the library that limits every command by commandTimeout or
// getTimeout. While heartbeats find the server silent, commands fail immediately: a request
// with several of them would otherwise wait for each, one after the other.
type deadlines struct {
	away *atomic.Pointer[error] // set by changes while the server is silent
}

// probing marks the context of heartbeats, which must reach a server that is silent.
type probing struct{}

func (d deadlines) begin(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc, error) {
	if why := d.away.Load(); why != nil && ctx.Value(probing{}) == nil {
		return nil, nil, *why
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	return ctx, cancel, nil
}

// DialHook implements [redis.Hook].
func (d deadlines) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook implements [redis.Hook].
func (d deadlines) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		limit := commandTimeout
		if name := cmd.Name(); name == "get" || name == "publish" {
			limit = getTimeout
		}
		ctx, cancel, err := d.begin(ctx, limit)
		if err != nil {
			cmd.SetErr(err)
			return err
		}
		defer cancel()
		return next(ctx, cmd)
	}
}

// ProcessPipelineHook implements [redis.Hook].
func (d deadlines) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		ctx, cancel, err := d.begin(ctx, commandTimeout)
		if err != nil {
			for _, cmd := range cmds {
				cmd.SetErr(err)
			}
			return err
		}
		defer cancel()
		return next(ctx, cmds)
	}
}

var _ redis.Hook = deadlines{}

// addDeadlines adds the hook to a client. In a Cluster some commands are sent to a node
// directly, such as a heartbeat to each master.
func addDeadlines(client redis.UniversalClient, hook deadlines) {
	client.AddHook(hook)
	if cluster, ok := client.(*redis.ClusterClient); ok {
		cluster.OnNewNode(func(node *redis.Client) { node.AddHook(hook) })
	}
}
