package badgerdb

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"
)

// A logger passes on what Badger logs. Badger's Info lines are about tables and levels:
// they are logged at Debug. Some events are known only from Badger's lines: the progress of
// its compactions, and that it cannot flush a memtable.
type logger struct {
	to            *slog.Logger  // nil: lines are discarded
	quiet         *atomic.Bool  // set for a database that was given up, whose goroutines of Badger keep retrying
	compactions   *compactions  // notified of each compaction, and may block it; nil: none is
	flushFailedAt *atomic.Int64 // when Badger last failed to flush a memtable, in Unix nanoseconds
}

// The beginnings of lines that Badger logs, as in its source.
const (
	msgNewTable          = "[%d] LOG Compact. Added %d keys"    // a compaction is about to create a table
	msgTablesStarted     = "Discard stats:"                     // a subcompaction has started to create its last table
	msgCompactionDone    = "[Compactor: %d] Compaction for"     // it succeeded
	msgCompactionFailed  = "[Compactor: %d] LOG Compact FAILED" // it failed, or a part of it did
	msgCompactorsStopped = "Stopping garbage collection"        // the last one has ended, and the tables are still open
	msgOpenFailed        = "Received err:"                      // the database does not open
	msgFlushFailed       = "error flushing memtable to disk:"   // Badger retries after a second
)

// newLogger returns a logger that writes to another one; nil: it discards all lines.
func newLogger(to *slog.Logger) logger {
	return logger{to: to, quiet: new(atomic.Bool), flushFailedAt: new(atomic.Int64)}
}

// log writes a line, marked as Badger's.
func (l logger) log(level slog.Level, format string, args ...any) {
	if l.to != nil && !l.quiet.Load() {
		l.to.Log(context.Background(), level, "badger: "+strings.TrimSpace(fmt.Sprintf(format, args...)))
	}
}

// Errorf implements [badger.Logger]. It notes when a memtable cannot be flushed.
func (l logger) Errorf(format string, args ...any) {
	if strings.HasPrefix(format, msgFlushFailed) {
		l.flushFailedAt.Store(time.Now().UnixNano())
	}
	if l.compactions != nil && strings.HasPrefix(format, msgOpenFailed) {
		l.compactions.start(nil)
	}
	l.log(slog.LevelError, format, args...)
}

// Debugf implements [badger.Logger]. It follows the compactions.
func (l logger) Debugf(format string, args ...any) {
	l.log(slog.LevelDebug, format, args...)
	if l.compactions == nil {
		return
	}
	switch {
	case strings.HasPrefix(format, msgNewTable) && len(args) > 1:
		compactor, _ := args[0].(int)
		keys, _ := args[1].(uint64)
		l.compactions.beforeTable(compactor, keys)
	case strings.HasPrefix(format, msgTablesStarted):
		l.compactions.waitForTables()
	case strings.HasPrefix(format, msgCompactionDone):
		l.compactionEnded(args)
	case strings.HasPrefix(format, msgCompactorsStopped):
		l.compactions.compactorsStopped()
	}
}

// Warningf implements [badger.Logger].
func (l logger) Warningf(format string, args ...any) {
	l.log(slog.LevelWarn, format, args...)
	if l.compactions != nil && strings.HasPrefix(format, msgCompactionFailed) {
		l.compactionEnded(args)
	}
}

// compactionEnded passes on that a compaction has ended. args begin with its compactor's
// id.
func (l logger) compactionEnded(args []any) {
	if len(args) > 0 {
		compactor, _ := args[0].(int)
		l.compactions.finish(compactor)
	}
}

// Infof implements [badger.Logger].
func (l logger) Infof(format string, args ...any) { l.log(slog.LevelDebug, format, args...) }
