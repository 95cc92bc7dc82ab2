package badgerstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/storetest"
	"github.com/deviceauth/caddy-deviceauth/internal/badgerdb"
)

// inBubble opens a store in a new directory, in a synctest bubble.
func inBubble(t *testing.T, do func(t *testing.T, s *Store)) {
	t.Helper()
	inBubbleAt(t, func(t *testing.T, s *Store, _ string) { do(t, s) })
}

// inBubbleAt is inBubble for a test that needs the directory.
func inBubbleAt(t *testing.T, do func(t *testing.T, s *Store, dir string)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s, err := Open(Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		do(t, s, dir)
	})
}

// onDisk reports whether the next process will find a grant.
func (s *Store) onDisk(t *testing.T, g *deviceauth.Grant) bool {
	t.Helper()
	next := &Store{pending: newPendingGrants(), log: s.log}
	if err := s.db.View(next.loadBundles); err != nil {
		t.Fatal(err)
	}
	if waits, _ := next.pending.get(g.ID); waits != nil {
		return true
	}
	return s.view(func(txn *badger.Txn) error { _, _, err := read(txn, grantKey(g.ID)); return err }) == nil
}

func TestNewGrantIsWrittenWithinMilliseconds(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *Store) {
		g := storetest.NewGrant("BCDFGHJK")
		if err := s.Create(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		time.Sleep(writeDelay)
		synctest.Wait()
		if !s.onDisk(t, g) {
			t.Error("it is not written")
		}
		if s.Recall(g.ID) == nil {
			t.Error("a poll has to read a record")
		}
	})
}

// The disk takes nothing more between the answer and the write: no more grants are
// accepted, those that were answered are still served, and they are written when the disk
// takes them.
func TestNewGrantsThatCannotBeWrittenAreKeptAndNoMoreAreTaken(t *testing.T) {
	t.Parallel()
	inBubbleAt(t, func(t *testing.T, s *Store, dir string) {
		g := storetest.NewGrant("BCDFGHJK")
		if err := s.Create(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(dir, dir+".away"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(writeDelay + badgerdb.CheckInterval)
		synctest.Wait()
		err := s.Create(t.Context(), storetest.NewGrant("LMNPQRST"))
		if err == nil || !strings.Contains(err.Error(), "is gone") {
			t.Errorf("a new grant: %v", err)
		}
		if got, err := s.Get(t.Context(), g.ID); err != nil || got.State != deviceauth.Pending {
			t.Errorf("a poll: %v, %v", got, err)
		}
		if err := os.Rename(dir+".away", dir); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * writeRetry)
		synctest.Wait()
		if !s.onDisk(t, g) {
			t.Error("it is not written when the disk takes it")
		}
		if err := s.Create(t.Context(), storetest.NewGrant("LMNPQRST")); err != nil {
			t.Errorf("a new grant when the disk takes it: %v", err)
		}
	})
}

// After a failed commit, only Badger knows whether the change was written.
func TestUncertainGrantIsReadFromBadger(t *testing.T) {
	t.Parallel()
	for name, kept := range map[string]bool{"the change was kept": true, "the change was not kept": false} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, s *Store) {
				g := storetest.NewGrant("BCDFGHJK")
				if err := s.Create(t.Context(), g); err != nil {
					t.Fatal(err)
				}
				denied := *g
				if err := denied.Deny(time.Now(), ""); err != nil {
					t.Fatal(err)
				}
				want := deviceauth.Pending
				if kept {
					want = deviceauth.Denied
					err := s.db.Update(func(txn *badger.Txn) error {
						b := &batch{txn: txn, changed: map[deviceauth.ID]cached{}}
						return b.write(&denied, expirySecond(g.KeepUntil()))
					})
					if err != nil {
						t.Fatal(err)
					}
				}
				s.pending.markUncertain(map[deviceauth.ID]cached{g.ID: {grant: &denied}})
				for _, when := range []string{"at once", "after the write behind"} {
					if got, err := s.Get(t.Context(), g.ID); err != nil || got.State != want {
						t.Errorf("%s: %+v, %v; want it %s", when, got, err, want)
					}
					_, err := s.ByUserCode(t.Context(), g.UserCode)
					if found := err == nil; found == kept {
						t.Errorf("%s by its code: %v", when, err)
					}
					time.Sleep(2 * writeDelay)
					synctest.Wait()
				}
			})
		})
	}
}

// A grant may move from memory to Badger after its code was looked up there for a new
// grant, and before it is looked up in memory.
func TestCodeThatMovesMeanwhileIsNotGivenTwice(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *Store) {
		g, fresh := storetest.NewGrant("BCDFGHJK"), storetest.NewGrant("BCDFGHJK")
		s.pending.noteCodesOnDisk(expirySecond(g.Expires) + 1) // of an earlier process
		if err := s.Create(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		_, moves := s.pending.codesOnDisk()
		if err := s.codeIsFree(g.UserCode); err != nil {
			t.Fatalf("it is not in Badger yet: %v", err)
		}
		if err := s.Update(t.Context(), g.ID, func(*deviceauth.Grant) error { return nil }); err != nil {
			t.Fatal(err)
		}
		if err := s.pending.add(t.Context(), fresh, moves); !errors.Is(err, errCodeMoved) {
			t.Errorf("got %v, want another look", err)
		}
		if err := s.Create(t.Context(), fresh); !errors.Is(err, deviceauth.ErrExists) {
			t.Errorf("got %v, want the code to be taken", err)
		}
	})
}

// shortLived returns a pending grant with the shortest retention: an hour of Badger's
// tickers takes long, even in a bubble.
func shortLived(code deviceauth.UserCode) *deviceauth.Grant {
	g := storetest.NewGrant(code)
	g.Expires = g.Created.Add(time.Second)
	return g
}

// Expired grants are removed from memory as fast as others come.
func TestExpiredGrantsLeaveMemory(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("go test without -short runs it: nothing in it runs beside another")
	}
	inBubble(t, func(t *testing.T, s *Store) {
		const round = 200
		for i := range 4 * round {
			g := shortLived(deviceauth.UserCode(fmt.Sprint(i)))
			if err := s.Create(t.Context(), g); err != nil {
				t.Fatal(err)
			}
			if i%round == round-1 {
				time.Sleep(time.Until(g.KeepUntil()) + time.Minute)
			}
		}
		s.pending.mu.Lock()
		defer s.pending.mu.Unlock()
		if n := len(s.pending.all); n > 2*round || n != len(s.pending.grants) {
			t.Errorf("%d are kept, %d by their ids", n, len(s.pending.grants))
		}
	})
}

func TestListHasWhatIsNotWrittenYet(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *Store) {
		want := map[deviceauth.ID]bool{}
		for i := range 40 {
			g := storetest.NewGrant(deviceauth.UserCode(string(rune('A'+i%26)) + string(rune('A'+i/26))))
			if err := s.Create(t.Context(), g); err != nil {
				t.Fatal(err)
			}
			want[g.ID] = true
			if i == 20 {
				time.Sleep(writeDelay)
				synctest.Wait()
			}
		}
		for next, first := "", true; first || next != ""; first = false {
			var list []*deviceauth.Grant
			var err error
			if list, next, err = s.List(t.Context(), next, 7); err != nil {
				t.Fatal(err)
			}
			for _, g := range list {
				if !want[g.ID] {
					t.Errorf("%v is listed twice", g.ID)
				}
				delete(want, g.ID)
			}
		}
		if len(want) > 0 {
			t.Errorf("%d are not listed", len(want))
		}
	})
}

// Close during traffic: grants that Create accepted are found until the store is closed,
// and by the next process, by id and by code.
func TestCloseDuringTrafficKeepsEveryGrantThatWasTaken(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	const devices, enough = 8, 500
	var taken [devices][]*deviceauth.Grant
	var count atomic.Int64
	ready := make(chan struct{})
	var all sync.WaitGroup
	for d := range devices {
		all.Go(func() {
			for i := 0; ; i++ {
				g := storetest.NewGrant(deviceauth.UserCode(fmt.Sprintf("%d-%d", d, i)))
				if s.Create(t.Context(), g) != nil {
					return // the store is closed
				}
				taken[d] = append(taken[d], g)
				if count.Add(1) == enough {
					close(ready)
				}
				if _, err := s.Get(t.Context(), g.ID); errors.Is(err, deviceauth.ErrNotFound) {
					t.Error("a poll hears that a grant which was just taken is not there")
				}
			}
		})
	}
	<-ready
	if err := s.closeWithin(0); err != nil { // however busy the machine is
		t.Error(err)
	}
	all.Wait()
	if s, err = Open(Options{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, g := range slices.Concat(taken[:]...) {
		if _, err := s.Get(t.Context(), g.ID); err != nil {
			t.Errorf("by its id: %v", err)
		}
		if got, err := s.ByUserCode(t.Context(), g.UserCode); err != nil || got.ID != g.ID {
			t.Errorf("by its code: %v, %v", got, err)
		}
	}
}

// Once Create has returned, the grant is found at every moment, while it is concurrently
// written behind, decided and read.
func TestGrantIsFoundWhileItIsWrittenAndDecided(t *testing.T) {
	t.Parallel()
	s, err := Open(Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var all sync.WaitGroup
	for d := range 8 {
		all.Go(func() {
			for i := range 200 {
				g := storetest.NewGrant(deviceauth.UserCode(fmt.Sprintf("%d-%d", d, i)))
				if err := s.Create(t.Context(), g); err != nil {
					t.Error(err)
					return
				}
				decided := make(chan struct{})
				all.Go(func() {
					defer close(decided)
					deny := func(g *deviceauth.Grant) error { return g.Deny(time.Now(), "") }
					if err := s.Update(t.Context(), g.ID, deny); err != nil {
						t.Error(err)
					}
				})
				for done := false; !done; {
					select {
					case <-decided:
						done = true
					default:
						runtime.Gosched() // with few cores, the committer needs a chance to run
					}
					got, err := s.Get(t.Context(), g.ID)
					if err != nil || done && got.State != deviceauth.Denied {
						t.Errorf("decided %v: %v, %v", done, got, err)
						return
					}
				}
				if _, err := s.ByUserCode(t.Context(), g.UserCode); !errors.Is(err, deviceauth.ErrNotFound) {
					t.Errorf("the code of a decided grant: %v", err)
				}
			}
		})
	}
	all.Wait()
}

// A request does not wait for memory longer than its client does.
func TestNewGrantWaitsForRoomNoLongerThanItsRequest(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *Store) {
		s.pending.mu.Lock()
		s.pending.queueBytes += maxQueueBytes + 1 // as if the disk accepted nothing and returned no error
		s.pending.mu.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := s.Create(ctx, storetest.NewGrant("BCDFGHJK"))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the end of the request", err)
		}
		s.pending.mu.Lock()
		s.pending.queueBytes -= maxQueueBytes + 1
		s.pending.mu.Unlock()
	})
}
