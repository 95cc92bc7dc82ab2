package badgerstore

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
)

// Badger ends the process where it finds itself in a state that it holds for
// impossible, such as to have no memtable, because no file could be made for one.
// So nothing is written to a store that has got there, or is about to.

// presence returns what tells that a directory is still the one it is now.
func presence(dir string) (func() error, error) {
	before, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("badger store: %w", err)
	}
	gone := fmt.Errorf("badger store: %s is gone, and with it what was kept there; "+
		"nothing is written until it is back, or Caddy is started anew", dir)
	return func() error {
		now, err := os.Stat(dir)
		if errors.Is(err, os.ErrNotExist) || err == nil && !os.SameFile(before, now) {
			return gone
		}
		return nil
	}, nil
}

// writable says why nothing may be written now.
func (s *Store) writable() error {
	if why := s.broken.Load(); why != nil {
		return *why
	}
	return s.room.enough()
}

// noMemtable is Badger's word for the failure after which the next write would
// end the process.
const noMemtable = "cannot create new mem table"

// noted keeps in mind an error after which nothing may be written any more.
func (s *Store) noted(err error) error {
	if err != nil && strings.Contains(err.Error(), noMemtable) {
		why := fmt.Errorf("badger store: nothing more is written to %s until Caddy is started anew: %w", s.dir, err)
		s.broken.CompareAndSwap(nil, &why)
	}
	return err
}

// guarded runs what looks into files that are mapped into memory. Where the disk
// has lost them that is a fault, which ends the process unless it is caught; and
// so is any panic in a goroutine of the store's own.
func guarded(do func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return do()
}
