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
// levels, which is an operator's debugging. Two things that Badger says nowhere else
// are heard here.
type logger struct {
	to      *slog.Logger  // nil: nobody hears it
	quiet   *atomic.Bool  // of a store that was given up, in which Badger goes on trying
	merging func()        // is called before a merge makes a table, and may hold it up; nil: nobody is
	stuck   *atomic.Int64 // when Badger last could not write memory to a table, in Unix nanoseconds
}

// What Badger says: the words are those of its source.
const (
	saysMerging = "[%d] LOG Compact. Added"          // just before a merge makes the file of a table
	saysStuck   = "error flushing memtable to disk:" // and it tries again after a second
)

func (l logger) log(level slog.Level, format string, args []any) {
	if l.to != nil && !l.quiet.Load() {
		l.to.Log(context.Background(), level, "badger: "+strings.TrimSpace(fmt.Sprintf(format, args...)))
	}
}

// Errorf implements [badger.Logger].
func (l logger) Errorf(format string, args ...any) {
	if strings.HasPrefix(format, saysStuck) {
		l.stuck.Store(time.Now().UnixNano())
	}
	l.log(slog.LevelError, format, args)
}

// Debugf implements [badger.Logger].
func (l logger) Debugf(format string, args ...any) {
	l.log(slog.LevelDebug, format, args)
	if l.merging != nil && strings.HasPrefix(format, saysMerging) {
		l.merging()
	}
}

func (l logger) Warningf(format string, args ...any) { l.log(slog.LevelWarn, format, args) }
func (l logger) Infof(format string, args ...any)    { l.log(slog.LevelDebug, format, args) }
