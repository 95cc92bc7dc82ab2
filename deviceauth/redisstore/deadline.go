package redisstore

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// commandTimeout limits every command, including the wait for a connection. A guard
// that cannot decide must respond within a second.
const commandTimeout = 900 * time.Millisecond

// deadlines is a hook of the library that limits every command by commandTimeout. While
// the heartbeats find the server away, commands fail immediately: a request with several
// of them would otherwise wait for each, one after the other.
type deadlines struct {
	away *atomic.Pointer[error] // set by changes to the error of the latest heartbeat
}

// probing marks the context of heartbeats, which must reach a server that is away.
type probing struct{}

func (d deadlines) begin(ctx context.Context) (context.Context, context.CancelFunc, error) {
	if why := d.away.Load(); why != nil && ctx.Value(probing{}) == nil {
		return nil, nil, *why
	}
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	return ctx, cancel, nil
}

// DialHook implements [redis.Hook].
func (d deadlines) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook implements [redis.Hook].
func (d deadlines) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		ctx, cancel, err := d.begin(ctx)
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
		ctx, cancel, err := d.begin(ctx)
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
