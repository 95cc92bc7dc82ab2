package caddymodule

import (
	"context"
	"log/slog"
)

// withoutContext is Caddy's slog handler without the context of a request: with a
// context, Caddy's handler adds a stack trace to every error.
type withoutContext struct{ slog.Handler }

// Handle implements [slog.Handler].
func (h withoutContext) Handle(_ context.Context, record slog.Record) error {
	return h.Handler.Handle(context.Background(), record)
}

// WithAttrs implements [slog.Handler].
func (h withoutContext) WithAttrs(attrs []slog.Attr) slog.Handler {
	return withoutContext{Handler: h.Handler.WithAttrs(attrs)}
}

// WithGroup implements [slog.Handler].
func (h withoutContext) WithGroup(name string) slog.Handler {
	return withoutContext{Handler: h.Handler.WithGroup(name)}
}
