package badgerstore

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
)

// logger passes on what Badger says. Its information is about tables and
// levels, which is an operator's debugging.
type logger struct {
	to    *slog.Logger // nil: nobody hears it
	quiet *atomic.Bool // of a store that was given up, in which Badger goes on trying
}

func (l logger) log(level slog.Level, format string, args []any) {
	if l.to != nil && !l.quiet.Load() {
		l.to.Log(context.Background(), level, "badger: "+strings.TrimSpace(fmt.Sprintf(format, args...)))
	}
}

func (l logger) Errorf(format string, args ...any)   { l.log(slog.LevelError, format, args) }
func (l logger) Warningf(format string, args ...any) { l.log(slog.LevelWarn, format, args) }
func (l logger) Infof(format string, args ...any)    { l.log(slog.LevelDebug, format, args) }
func (l logger) Debugf(format string, args ...any)   { l.log(slog.LevelDebug, format, args) }
