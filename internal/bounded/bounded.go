// Package bounded opens a store so that the process can exit even if the store hangs,
// because of a failed disk or a server that does not respond: Caddy's http servers wait
// for requests in progress, and these wait for the store. So some time after the shutdown
// began, calls to the store are abandoned, and their requests are answered with 503. An
// abandoned call may or may not have taken effect, as when a response is lost on the
// network. The package decides how long a call and the end of a store are waited for, and
// measures calls; it does not know what is stored. The app of caddymodule calls it.
package bounded

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// A Store is an open store whose calls can be abandoned. Close waits for its uses. It is
// safe for concurrent use.
type Store struct {
	opened   deviceauth.Storage
	deadline <-chan struct{} // closed when calls are to be abandoned
	unwatch  func()          // ends watchExit
	hung     atomic.Bool     // a call was abandoned
	using    sync.RWMutex    // read-locked by each use; locked permanently to close
}

// Open opens a store. Like other calls, opening may be abandoned during a shutdown, which
// exiting reports.
func Open(exiting func() bool, open func() (deviceauth.Storage, error)) (*Store, error) {
	deadline, unwatch := watchExit(exiting)
	opened, err := callUntil(deadline, func() {}, open)
	if err != nil {
		unwatch()
		return nil, err
	}
	return &Store{opened: opened, deadline: deadline, unwatch: unwatch}, nil
}

// Opened returns the store as it was opened.
func (s *Store) Opened() deviceauth.Storage { return s.opened }

// Run runs a long call of the opened store, such as a backup, and returns its error. An
// abandoned one does not mean that the store hangs.
func (s *Store) Run(call func() error) error {
	_, err := callUntil(s.deadline, func() {}, func() (struct{}, error) { return struct{}{}, call() })
	return err
}

// abandon records that a call was abandoned, so that Close waits less for a store that
// hangs.
func (s *Store) abandon() { s.hung.Store(true) }

// BeginUse keeps the store open until EndUse. It returns false if the store is being
// closed; the caller must not use it then.
func (s *Store) BeginUse() bool { return s.using.TryRLock() }

// EndUse ends a use.
func (s *Store) EndUse() { s.using.RUnlock() }

// closeWait limits how long a stop or a reload waits for the store to close. It is
// longer than the timeouts of the stores themselves; together with exitTimeout it is
// below 5 s. A store with abandoned calls gets hungWait.
const (
	closeWait = 3100 * time.Millisecond
	hungWait  = time.Second
)

// ErrInUse is the error of Close if it did not wait for the store.
var ErrInUse = errors.New("the store is in use by a request, or does not close: it is not waited for")

// Close closes the store after its last use. A use that does not end, or a store that
// does not close, delays it by at most closeWait: the store is then closed later, or ends
// with the process. Everything that was confirmed in a response is on disk in any case.
func (s *Store) Close() error {
	defer s.unwatch()
	closed := make(chan error, 1)
	go func() {
		s.using.Lock() // never unlocked, so that later requests find the store closed
		closed <- s.opened.Close()
	}()
	wait := closeWait
	if s.hung.Load() {
		wait = hungWait
	}
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	select {
	case err := <-closed:
		return err
	case <-timeout.C:
		return ErrInUse
	}
}
