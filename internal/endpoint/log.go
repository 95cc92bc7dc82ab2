package endpoint

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/deviceauth/caddy-deviceauth/internal/sampling"
	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// A Log logs failed requests. The endpoints and the pages of one issuer share one
// Log, because it counts its lines: any client can cause refusals or faults as often
// as it likes, and must not fill the disk with them.
type Log struct {
	to       *slog.Logger
	refusals *sampling.Sampler[logKind] // refusals, which clients cause
	faults   *sampling.Sampler[logKind] // faults, which outages of a store or an upstream cause
}

// A logKind identifies lines that are counted together.
type logKind struct {
	level    slog.Level
	message  string
	upstream string
	code     string
}

// NewLog returns a Log that writes to a logger; a nil logger discards everything.
func NewLog(to *slog.Logger) *Log {
	if to == nil {
		to = slog.New(slog.DiscardHandler)
	}
	l := &Log{to: to}
	l.refusals, l.faults = sampling.New(l.logOmitted), sampling.Outages(l.logOmitted)
	return l
}

// Warn logs a warning that no client can cause often. It is not counted.
func (l *Log) Warn(ctx context.Context, message string, args ...any) {
	l.to.WarnContext(ctx, message, args...)
}

// Refused logs that a request of a browser, or the response of an upstream, was
// refused; code is that of the OAuth error. It only counts the refusal if there were
// many of the same kind recently. upstream is empty if none was involved.
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

// Fault logs a request that failed. During an outage of the store, or of the upstream
// with that name, every request fails: the first one is logged, and then the number
// of the others, once a minute.
func (l *Log) Fault(r *http.Request, upstream string, err error) {
	if r.Context().Err() != nil {
		return // the client has disconnected, which is not a fault
	}
	kind := logKind{level: slog.LevelError, message: faultMessage, upstream: upstream}
	if l.faults.Pass(kind) {
		l.to.Log(r.Context(), kind.level, kind.message, "path", text.WithoutCredentials(r.URL.Path), "error", err)
	}
}

const faultMessage = "request failed"

// logOmitted logs how many lines of a kind were omitted.
func (l *Log) logOmitted(kind logKind, n int) {
	if kind.message == "" { // the kind for all lines beyond the limit of distinct kinds
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
