package core

import (
	"context"
	"log/slog"
)

// guardedLogger returns a logger whose handler, which is the user's, cannot hurt its callers: a line that makes it panic is
// lost.
func guardedLogger(l *slog.Logger) *slog.Logger {
	if _, already := l.Handler().(guardedHandler); already {
		return l
	}
	return slog.New(guardedHandler{l.Handler()})
}

type guardedHandler struct{ slog.Handler }

func (h guardedHandler) Enabled(ctx context.Context, level slog.Level) (enabled bool) {
	defer func() { _ = recover() }()
	return h.Handler.Enabled(ctx, level)
}

func (h guardedHandler) Handle(ctx context.Context, r slog.Record) (err error) {
	defer func() { _ = recover() }()
	return h.Handler.Handle(ctx, r)
}

func (h guardedHandler) WithAttrs(attrs []slog.Attr) (with slog.Handler) {
	defer func() {
		if recover() != nil {
			with = h
		}
	}()
	return guardedHandler{h.Handler.WithAttrs(attrs)}
}

func (h guardedHandler) WithGroup(name string) (with slog.Handler) {
	defer func() {
		if recover() != nil {
			with = h
		}
	}()
	return guardedHandler{h.Handler.WithGroup(name)}
}
