package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
)

// A logKind is what lines of the log have in common that are counted together:
// anybody can have a sign-in refused, or ask a server that is ailing, as often
// as they like, and the disk must not be filled by that.
type logKind struct {
	level    slog.Level
	message  string
	upstream string
	code     string
}

// log writes a line about a request that came to nothing, unless there were many
// of its kind just now.
func (h *Handler) log(r *http.Request, kind logKind, err error) {
	if h.lines.Pass(kind) {
		h.cfg.Log.Log(r.Context(), kind.level, kind.message, "upstream", kind.upstream, "error", err)
	}
}

// fault writes a line about a request that could not be answered. The store, or an
// upstream, that is away makes one for every request: the first is written, and then
// the number of the others, once a minute.
func (h *Handler) fault(r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // the client went away, which is no fault
	}
	kind := logKind{level: slog.LevelError, message: "request failed"}
	var down *unavailable
	if errors.As(err, &down) {
		kind.upstream = down.label
	}
	if h.faults.Pass(kind) {
		h.cfg.Log.Log(r.Context(), kind.level, kind.message, "path", r.URL.Path, "error", err)
	}
}

// logMore tells how many lines of a kind were not written.
func (h *Handler) logMore(kind logKind, n int) {
	if kind.message == "" { // of more kinds than are told apart
		kind = logKind{level: slog.LevelError, message: "request failed"}
	}
	var known []any
	for name, value := range map[string]string{"upstream": kind.upstream, "error": kind.code} {
		if value != "" {
			known = append(known, name, value)
		}
	}
	h.cfg.Log.Log(context.Background(), kind.level, kind.message, append(known, "more", n)...)
}
