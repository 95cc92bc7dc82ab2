package storetest

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// Checks of documents.

// documentChangesAreAtomic expects that no concurrent change of a document is lost.
// Every goroutine appends one byte, so the length counts the changes that were kept.
// A second document shows that names are separate.
func documentChangesAreAtomic(ctx context.Context, s deviceauth.Storage) error {
	// The function returns a longer slice, which must not share memory with the
	// store.
	add := func(old []byte) ([]byte, error) {
		runtime.Gosched() // lets other goroutines in, if the store permits it
		return append(old, 'x'), nil
	}
	if _, err := race(func(int) error { return s.UpdateDocument(ctx, "a", add) }); err != nil {
		return err
	}
	if err := s.UpdateDocument(ctx, "b", add); err != nil {
		return err
	}
	return s.UpdateDocument(ctx, "a", func(old []byte) ([]byte, error) {
		if len(old) != racers {
			return nil, fmt.Errorf("%d changes were kept, want %d", len(old), racers)
		}
		return old, nil
	})
}

// lookingMakesNoDocument reads an absent document twice. A change function that
// returns nil for an absent document only reads, and leaves it absent.
func lookingMakesNoDocument(ctx context.Context, s deviceauth.Storage) error {
	look := func(old []byte) ([]byte, error) {
		if old != nil {
			return nil, fmt.Errorf("there is a document, %q", old)
		}
		return old, nil
	}
	return first(func() error { return s.UpdateDocument(ctx, "a", look) },
		func() error { return s.UpdateDocument(ctx, "a", look) })
}

// failedDocumentIsKept is failedUpdateKeepsNothing for documents.
func failedDocumentIsKept(ctx context.Context, s deviceauth.Storage) error {
	return first(
		func() error {
			return s.UpdateDocument(ctx, "a", func([]byte) ([]byte, error) { return []byte("kept"), nil })
		},
		func() error {
			if err := s.UpdateDocument(ctx, "a",
				func([]byte) ([]byte, error) { return []byte("lost"), errOnPurpose }); err != errOnPurpose {
				return fmt.Errorf("got %v, want the error of the change as it is", err)
			}
			return nil
		},
		func() error {
			return s.UpdateDocument(ctx, "a", func(old []byte) ([]byte, error) {
				if string(old) != "kept" {
					return nil, fmt.Errorf("the document is %q", old)
				}
				return old, nil
			})
		},
	)
}

// documentIsKeptForAWhile expects that a document is gone after its time. PutDocument
// replaces a document and limits its lifetime; an end in the past, or a nil document,
// deletes it. LoadDocument and UpdateDocument must agree, also about the difference
// between an absent and an empty document.
func documentIsKeptForAWhile(ctx context.Context, s deviceauth.Storage) error {
	// Both ways to read a document are used, because a store may serve one of them
	// from memory.
	holds := func(name, want string) func() error {
		return func() error {
			loaded, err := s.LoadDocument(ctx, name)
			if err != nil {
				return err
			}
			var changed []byte
			if err := s.UpdateDocument(ctx, name,
				func(old []byte) ([]byte, error) { changed = old; return old, nil }); err != nil {
				return err
			}
			if string(loaded) != want || string(changed) != want || (loaded == nil) != (changed == nil) {
				return fmt.Errorf("the document %s is %q and %q, want %q", name, loaded, changed, want)
			}
			return nil
		}
	}
	keep := func(name string, document []byte, until time.Duration) func() error {
		return func() error { return s.PutDocument(ctx, name, document, time.Now().Add(until)) }
	}
	return first(
		holds("session-a", ""), keep("session-a", nil, time.Hour), holds("session-a", ""),
		keep("session-a", []byte("one"), time.Hour), keep("session-b", []byte("other"), time.Hour),
		holds("session-a", "one"),
		keep("session-a", []byte("two"), time.Hour), holds("session-a", "two"), holds("session-b", "other"),
		keep("session-a", []byte("over"), -time.Second), holds("session-a", ""), keep("session-b", nil, time.Hour),
		holds("session-b", ""),
	)
}
