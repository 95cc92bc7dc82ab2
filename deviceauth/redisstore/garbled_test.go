package redisstore

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/storetest"
	"github.com/deviceauth/caddy-deviceauth/internal/redistest"
)

// A server that does not permit INFO, like some hosted ones, is used, and the log
// says which settings could not be checked.
func TestServerThatDoesNotTellItsSettingsIsWarnedAbout(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--user", "default", "on", "nopass", "~*", "&*", "+@all", "-info")
	var log bytes.Buffer
	s, err := Open(t.Context(), Options{URLs: []string{server.URL()}}, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if !strings.Contains(log.String(), "noeviction") || strings.Count(log.String(), "\n") != 1 {
		t.Errorf("the log says %q", log.String())
	}
}

// shortAnswers has scripts answer with less than they do.
type shortAnswers struct{ redis.Hook }

func (shortAnswers) DialHook(next redis.DialHook) redis.DialHook { return next }
func (shortAnswers) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (shortAnswers) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(_ context.Context, cmd redis.Cmder) error {
		if c, ok := cmd.(*redis.Cmd); ok {
			c.SetVal([]any{int64(1)})
		}
		return nil
	}
}

// A proxy between gateway and Redis may answer anything.
func TestScriptsAnswerThatIsShortIsAFault(t *testing.T) {
	t.Parallel()
	s, g := troubled(t, func(_ int32, send func() error) error { return send() })
	s.redis.AddHook(shortAnswers{})
	if count, err := s.CountUp(t.Context(), "x", time.Minute); err == nil {
		t.Errorf("counting: %+v", count)
	}
	if _, err := s.RecordPoll(t.Context(),
		deviceauth.Poll{Grant: g.ID, Expires: time.Now().Add(time.Minute)}); err == nil {
		t.Error("arriving: no fault")
	}
}

// A record whose contents belong to another grant is a fault, in lists as well: the
// list would show that grant, and ending it would end the wrong one.
func TestListedRecordThatIsNoGrantsOwnIsAFault(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"null", "{}", `{"state":"active"}`, "nonsense", ""} {
		s, g := troubled(t, func(_ int32, send func() error) error { return send() })
		person := &deviceauth.Person{Subject: "work|1"}
		if err := s.Update(t.Context(), g.ID,
			func(g *deviceauth.Grant) error { return g.Approve(time.Now(), person) }); err != nil {
			t.Fatal(err)
		}
		if err := s.redis.Set(t.Context(), s.grantKey(g.ID), withNonce([]byte(text)), time.Hour).Err(); err != nil {
			t.Fatal(err)
		}
		if list, _, err := s.List(t.Context(), "", 10); err == nil {
			t.Errorf("%q: the list: %+v", text, list)
		}
		if list, err := s.ByOwner(t.Context(), "work|1"); err == nil {
			t.Errorf("%q: a person's: %+v", text, list)
		}
	}
}

// One record of a person's that is garbled keeps no sign-out from the others.
func TestOthersOfAPersonAreFoundBesideAGarbledOne(t *testing.T) {
	t.Parallel()
	s, spoilt := troubled(t, func(_ int32, send func() error) error { return send() })
	other := storetest.NewGrant("WXZBCDFG")
	if err := s.Create(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	for _, id := range []deviceauth.ID{spoilt.ID, other.ID} {
		person := &deviceauth.Person{Subject: "work|1"}
		if err := s.Update(t.Context(), id,
			func(g *deviceauth.Grant) error { return g.Approve(time.Now(), person) }); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.redis.Set(t.Context(), s.grantKey(spoilt.ID), "garbled", time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
	if list, err := s.ByOwner(t.Context(), "work|1"); err == nil || len(list) != 1 || list[0].ID != other.ID {
		t.Errorf("%+v, %v", list, err)
	}
}
