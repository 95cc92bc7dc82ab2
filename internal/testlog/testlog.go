// Package testlog lets tests read a log while it is written. It decides nothing, and knows
// nothing of how lines are formatted: tests give a [Buffer] to a handler of log/slog, and
// look for parts of a line. Only tests use it.
package testlog

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"
)

// A Buffer is a log. It is safe for concurrent use.
type Buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements [io.Writer].
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// String returns what has been written.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// Wait returns when the log has a text. It fails the test if the log lacks it after 10 s,
// and then shows the whole log. It looks every 5 ms, since the writer is often another
// goroutine of a library, which tells nothing when it is done.
func (b *Buffer) Wait(t testing.TB, text string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !strings.Contains(b.String(), text); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("want %q in the log:\n%s", text, b)
		}
	}
}
