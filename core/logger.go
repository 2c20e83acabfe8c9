package core

import (
	"context"
	"log/slog"
)

// guardedLogger returns a logger whose handler, which is the user's, cannot hurt its callers: a line that makes it panic,
// end its goroutine or hang is lost.
func guardedLogger(l *slog.Logger) *slog.Logger {
	if _, already := l.Handler().(guardedHandler); already || l.Handler() == slog.DiscardHandler {
		return l
	}
	return slog.New(guardedHandler{l.Handler()})
}

type guardedHandler struct{ slog.Handler }

func (h guardedHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return guardedOr(false, func() bool { return h.Handler.Enabled(ctx, level) })
}

func (h guardedHandler) Handle(ctx context.Context, r slog.Record) error {
	return guardedOr(nil, func() error { return h.Handler.Handle(ctx, r) })
}

func (h guardedHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return guardedHandler{guardedOr(h.Handler, func() slog.Handler { return h.Handler.WithAttrs(attrs) })}
}

func (h guardedHandler) WithGroup(name string) slog.Handler {
	return guardedHandler{guardedOr(h.Handler, func() slog.Handler { return h.Handler.WithGroup(name) })}
}
