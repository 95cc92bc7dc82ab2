package endpoint

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/deviceauth/caddy-deviceauth/internal/sampling"
	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// A Log writes of requests that failed. The endpoints and the pages of one
// issuer share one, because it counts: any client can have a sign-in refused, or ask a
// server that is ailing, as often as they like, and the disk must not be filled by
// that.
type Log struct {
	to       *slog.Logger
	refusals *sampling.Sampler[logKind] // of what strangers cause
	faults   *sampling.Sampler[logKind] // of what is away
}

// A logKind is what lines of the log have in common that are counted together.
type logKind struct {
	level    slog.Level
	message  string
	upstream string
	code     string
}

// NewLog returns a Log that writes to a logger; nil discards.
func NewLog(to *slog.Logger) *Log {
	if to == nil {
		to = slog.New(slog.DiscardHandler)
	}
	l := &Log{to: to}
	l.refusals, l.faults = sampling.New(l.more), sampling.Outages(l.more)
	return l
}

// Warn writes a line of its own, that no client can cause often.
func (l *Log) Warn(ctx context.Context, message string, args ...any) {
	l.to.WarnContext(ctx, message, args...)
}

// Refused writes that a browser's request was refused, or an upstream's answer, by the
// code of an OAuth error, unless there were many of its kind just now. upstream is empty
// where none was asked.
func (l *Log) Refused(r *http.Request, message, upstream, code string, err error) {
	kind := logKind{level: slog.LevelWarn, message: message, upstream: upstream, code: code}
	if l.refusals.Pass(kind) {
		args := []any{"error", err}
		if upstream != "" {
			args = append([]any{"upstream", upstream}, args...)
		}
		l.to.Log(r.Context(), kind.level, kind.message, args...)
	}
}

// Fault writes of a request that could not be answered. The store, or the upstream
// of that name, that is away makes one for every request: the first is written, and
// then the number of the others, once a minute.
func (l *Log) Fault(r *http.Request, upstream string, err error) {
	if r.Context().Err() != nil {
		return // the client went away, which is no fault
	}
	kind := logKind{level: slog.LevelError, message: faultMessage, upstream: upstream}
	if l.faults.Pass(kind) {
		l.to.Log(r.Context(), kind.level, kind.message, "path", text.WithoutCredentials(r.URL.Path), "error", err)
	}
}

const faultMessage = "request failed"

// more writes how many lines of a kind were not written.
func (l *Log) more(kind logKind, n int) {
	if kind.message == "" { // of more kinds than are told apart
		kind = logKind{level: slog.LevelError, message: faultMessage}
	}
	var known []any
	for name, value := range map[string]string{"upstream": kind.upstream, "error": kind.code} {
		if value != "" {
			known = append(known, name, value)
		}
	}
	l.to.Log(context.Background(), kind.level, kind.message, append(known, "more", n)...)
}
