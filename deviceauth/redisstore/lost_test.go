package redisstore

import (
	"context"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/storetest"
	"github.com/deviceauth/caddy-deviceauth/internal/redistest"
)

// trouble is a faulty connection between a client and its server.
type trouble struct {
	scripts atomic.Int32 // number of scripts sent
	on      func(nth int32, send func() error) error
}

func (t *trouble) DialHook(next redis.DialHook) redis.DialHook { return next }
func (t *trouble) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (t *trouble) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if !strings.HasPrefix(cmd.Name(), "eval") || !strings.Contains(cmd.String(), ":g:") {
			return next(ctx, cmd)
		}
		err := t.on(t.scripts.Add(1), func() error { return next(ctx, cmd) })
		if err != nil {
			cmd.SetErr(err)
		}
		return err
	}
}

func troubled(t *testing.T, on func(nth int32, send func() error) error) (*Store, *deviceauth.Grant) {
	t.Helper()
	s, err := Open(t.Context(), Options{URLs: []string{redistest.Start(t).URL()}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	g := storetest.NewGrant("BCDFGHJK")
	if err := s.Create(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	if err := swap.Load(t.Context(), s.redis).Err(); err != nil { // so that one change is one script
		t.Fatal(err)
	}
	s.redis.AddHook(&trouble{on: on})
	return s, g
}

// count is a change that must be made once.
func count(g *deviceauth.Grant) error { g.Revision++; return nil }

// once wants the change to have been made once, and the caller to know.
func once(t *testing.T, s *Store, g *deviceauth.Grant, err error) {
	t.Helper()
	got, readErr := s.Get(t.Context(), g.ID)
	if err != nil || readErr != nil || got.Revision != g.Revision+1 {
		t.Errorf("the change: %v; then %+v, %v", err, got, readErr)
	}
}

// protocol 4
func TestAnswerThatIsLostIsFoundOut(t *testing.T) {
	t.Parallel()
	s, g := troubled(t, func(nth int32, send func() error) error {
		err := send()
		if nth == 1 {
			return io.EOF // done, and not heard of
		}
		return err
	})
	once(t, s, g, s.Update(t.Context(), g.ID, count))
}

// protocol 4: a server that was blocked carries out an earlier attempt during the
// next one.
func TestAttemptThatArrivesLateIsRecognised(t *testing.T) {
	t.Parallel()
	var late func() error
	s, g := troubled(t, func(nth int32, send func() error) error {
		switch nth {
		case 1:
			late = send
			return io.EOF
		case 2:
			if err := late(); err != nil {
				return err
			}
		}
		return send()
	})
	once(t, s, g, s.Update(t.Context(), g.ID, count))
}

// protocol 4: the client of a Cluster repeats by itself a command that got no
// response.
func TestAttemptSentTwiceIsAnsweredTwice(t *testing.T) {
	t.Parallel()
	s, g := troubled(t, func(_ int32, send func() error) error {
		if err := send(); err != nil {
			return err
		}
		return send()
	})
	once(t, s, g, s.Update(t.Context(), g.ID, count))
}

// What the store no longer needs for a person goes with the person's last grant.
func TestIndexOfAPersonEnds(t *testing.T) {
	t.Parallel()
	s, g := troubled(t, func(_ int32, send func() error) error { return send() })
	person := &deviceauth.Person{Subject: "work|1"}
	if err := s.Update(t.Context(), g.ID,
		func(g *deviceauth.Grant) error { return g.Approve(time.Now(), person) }); err != nil {
		t.Fatal(err)
	}
	left := s.redis.PTTL(t.Context(), s.ownerKey("work|1")).Val()
	if want := time.Until(g.KeepUntil()) + margin; left <= 0 || left > want+time.Second {
		t.Errorf("it is kept for %v, the grant for %v", left, want)
	}
}
