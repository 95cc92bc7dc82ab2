package httpapi

import (
	"context"
	"log/slog"
	"net/http"
)

// A logKind is what lines of the log have in common that are counted together:
// anybody can have a sign-in refused, or ask a server that is ailing, as often
// as they like, and the disk must not be filled by that.
type logKind struct {
	level   slog.Level
	message string
	about   string // the name of what
	what    string
	code    string
}

// log writes a line about a request that came to nothing, unless there were many
// of its kind just now.
func (h *Handler) log(r *http.Request, kind logKind, err error) {
	if h.lines.Pass(kind) {
		h.cfg.Log.Log(r.Context(), kind.level, kind.message, kind.about, kind.what, "error", err)
	}
}

// logMore tells how many lines of a kind were not written.
func (h *Handler) logMore(kind logKind, n int) {
	if kind.message == "" { // of more kinds than are told apart
		kind = logKind{level: slog.LevelError, message: "request failed", about: "path", what: "any"}
	}
	h.cfg.Log.Log(context.Background(), kind.level, kind.message, kind.about, kind.what, "error", kind.code, "more", n)
}
