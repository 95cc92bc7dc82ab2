package badgerstore

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"
)

// logger passes on what Badger says. Its information is about tables and
// levels, which is an operator's debugging. What Badger says nowhere else
// is heard here: how its merges go, and that it is stuck.
type logger struct {
	to     *slog.Logger  // nil: nobody hears it
	quiet  *atomic.Bool  // of a store that was given up, in which Badger goes on trying
	merges *merges       // is told of the merges, and may hold them up; nil: nobody is
	stuck  *atomic.Int64 // when Badger last could not write memory to a table, in Unix nanoseconds
}

// What Badger says: the words are those of its source.
const (
	saysMerging = "[%d] LOG Compact. Added %d keys"    // just before a merge makes the file of a table
	saysMade    = "Discard stats:"                     // a part of a merge has begun all of its tables, and is not done
	saysMerged  = "[Compactor: %d] Compaction for"     // it is done
	saysFailed  = "[Compactor: %d] LOG Compact FAILED" // it is not done, or not quite
	saysClosing = "Stopping garbage collection"        // no merge is under way any more, and all tables are open
	saysNot     = "Received err:"                      // the database does not open
	saysStuck   = "error flushing memtable to disk:"   // and it tries again after a second
)

// newLogger returns a logger that passes lines on to another; nil: to none.
func newLogger(to *slog.Logger) logger {
	return logger{to: to, quiet: new(atomic.Bool), stuck: new(atomic.Int64)}
}

// log passes a line on, as one of Badger's.
func (l logger) log(level slog.Level, format string, args []any) {
	if l.to != nil && !l.quiet.Load() {
		l.to.Log(context.Background(), level, "badger: "+strings.TrimSpace(fmt.Sprintf(format, args...)))
	}
}

// Errorf implements [badger.Logger], and notes when Badger is stuck.
func (l logger) Errorf(format string, args ...any) {
	if strings.HasPrefix(format, saysStuck) {
		l.stuck.Store(time.Now().UnixNano())
	}
	if l.merges != nil && strings.HasPrefix(format, saysNot) {
		l.merges.start(nil)
	}
	l.log(slog.LevelError, format, args)
}

// Debugf implements [badger.Logger], and follows the merges.
func (l logger) Debugf(format string, args ...any) {
	l.log(slog.LevelDebug, format, args)
	if l.merges == nil {
		return
	}
	switch {
	case strings.HasPrefix(format, saysMerging) && len(args) > 1:
		who, _ := args[0].(int)
		keys, _ := args[1].(uint64)
		l.merges.makes(who, keys)
	case strings.HasPrefix(format, saysMade):
		l.merges.made()
	case strings.HasPrefix(format, saysMerged):
		l.mergeEnds(args)
	case strings.HasPrefix(format, saysClosing):
		l.merges.closed()
	}
}

// Warningf implements [badger.Logger].
func (l logger) Warningf(format string, args ...any) {
	l.log(slog.LevelWarn, format, args)
	if l.merges != nil && strings.HasPrefix(format, saysFailed) {
		l.mergeEnds(args)
	}
}

// mergeEnds tells of the end of a merge, by the number of the compactor that made it.
func (l logger) mergeEnds(args []any) {
	if len(args) > 0 {
		who, _ := args[0].(int)
		l.merges.over(who)
	}
}

// Infof implements [badger.Logger].
func (l logger) Infof(format string, args ...any) { l.log(slog.LevelDebug, format, args) }
