package embednats

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
)

// natsLog hands the server's log to slog. A fatal message is kept, since the
// server, embedded, returns from a failed start as from a good one.
type natsLog struct {
	ctx context.Context //nolint:containedctx // the server's interface has none
	to  *slog.Logger

	mu        sync.Mutex
	lastFatal string
}

func (l *natsLog) fatal() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lastFatal
}

func (l *natsLog) log(level slog.Level, format string, args []any) {
	if l.to.Enabled(l.ctx, level) {
		l.to.LogAttrs(l.ctx, level, "nats server", slog.String("text", fmt.Sprintf(format, args...)))
	}
}

// Noticef implements the server's logger.
func (l *natsLog) Noticef(format string, args ...any) { l.log(slog.LevelDebug, format, args) }

// Warnf implements the server's logger.
func (l *natsLog) Warnf(format string, args ...any) { l.log(slog.LevelWarn, format, args) }

// Errorf implements the server's logger.
func (l *natsLog) Errorf(format string, args ...any) { l.log(slog.LevelError, format, args) }

// Fatalf implements the server's logger. It does not end the process.
func (l *natsLog) Fatalf(format string, args ...any) {
	l.mu.Lock()
	l.lastFatal = fmt.Sprintf(format, args...)
	l.mu.Unlock()
	l.log(slog.LevelError, format, args)
}

// Debugf implements the server's logger.
func (l *natsLog) Debugf(string, ...any) {}

// Tracef implements the server's logger.
func (l *natsLog) Tracef(string, ...any) {}
