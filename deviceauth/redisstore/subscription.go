package redisstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// The subscription to the changes of all gateways. The library's own loop would keep a
// subscription that the server has refused, and would panic at replies that are not
// messages.

// receive subscribes to the channel and handles its messages until the context ends. A
// subscription that fails is replaced by a new one on another connection, whatever the
// reason: the server may refuse it for a while, during a change of a password or an ACL.
func (c *changes) receive(ctx context.Context) {
	for refused := false; ; {
		err := c.receiveFromOne(ctx, func() {
			if refused {
				c.log.Info("redis takes the subscription again")
			}
			refused = false
		})
		if ctx.Err() != nil {
			return
		}
		// If the server is unreachable, sendHeartbeats logs it.
		if !refused && (!isUnavailable(err) || errors.Is(err, errNoMessage)) {
			refused = true
			c.log.Error("redis refuses the subscription to the changes of other gateways: held polls are not woken by "+
				"them, and grants are read for each request; it is tried again", "channel", c.channel, "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(heartbeat):
		}
	}
}

// silence is how long a subscription may receive nothing. Our own heartbeats come back on
// it, so after that time it is broken, or was never made.
const silence = 2 * time.Second

var errNoMessage = errors.New("redis store: a reply on the subscription is not a message")

// receiveFromOne handles the messages of a single subscription until that fails. It calls
// subscribed when the server has confirmed the subscription.
func (c *changes) receiveFromOne(ctx context.Context, subscribed func()) error {
	sub := c.redis.Subscribe(ctx)
	defer context.AfterFunc(ctx, func() { sub.Close() })()
	defer sub.Close()
	if err := sub.Subscribe(ctx, c.channel); err != nil {
		return err
	}
	for {
		message, err := receiveMessage(ctx, sub)
		if err != nil {
			return err
		}
		switch m := message.(type) {
		case *redis.Subscription:
			c.forgetAll() // changes may have been missed before this subscription began
			subscribed()
		case *redis.Message:
			c.handle(m.Payload)
		}
	}
}

// receiveMessage returns the next message of a subscription. The library panics at
// replies that are not messages.
func receiveMessage(ctx context.Context, sub *redis.PubSub) (message any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errNoMessage, p)
		}
	}()
	return sub.ReceiveTimeout(ctx, silence)
}
