package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/redrive-dev/redrive/idempotency"
	"github.com/redrive-dev/redrive/server/internal/inbox"
	"github.com/redrive-dev/redrive/sqlinbox"
)

const (
	// purgeEvery and purgeRows say how often keys that are past their retention
	// are deleted, and how many in one transaction: claims wait behind it.
	purgeEvery = 10 * time.Minute
	purgeRows  = 1000
)

// inboxes are the stores that subscriptions can choose. Keys carry the name of
// their subscription, so that all of them share one store of a kind.
type inboxes struct {
	memory idempotency.Store
	sqlite *inbox.Inbox
}

// openInboxes opens what the subscriptions ask for.
func openInboxes(ctx context.Context, c Config, clean *cleanup) (*inboxes, error) {
	out := &inboxes{}
	for _, s := range c.Subscriptions {
		switch s.Inbox.Store {
		case "memory":
			if out.memory == nil {
				out.memory = idempotency.NewMemory()
			}
		case "sqlite":
			if out.sqlite != nil {
				continue
			}
			if err := os.MkdirAll(string(c.DataDir), 0o700); err != nil {
				return nil, fmt.Errorf("inbox: make the data directory: %w", err)
			}
			db, err := inbox.Open(ctx, string(c.DataDir), sqlinbox.Config{})
			if err != nil {
				return nil, err
			}
			clean.push("close the inbox", func(context.Context) error { return db.Close() })
			out.sqlite = db
		}
	}
	return out, nil
}

// store returns the store of a kind, nil for none.
func (i *inboxes) store(kind string) idempotency.Store {
	switch kind {
	case "memory":
		return i.memory
	case "sqlite":
		return i.sqlite
	}
	return nil
}

// purger deletes what an inbox no longer needs.
type purger interface {
	Purge(ctx context.Context, limit int) (int64, error)
}

// purge deletes now and every purgeEvery until the context ends. A failure is
// logged and tried again: keys that stay too long do no harm.
func purge(ctx context.Context, p purger, log *slog.Logger) {
	ticker := time.NewTicker(purgeEvery)
	defer ticker.Stop()
	for {
		deleted, err := purgeAll(ctx, p)
		switch {
		case err != nil && ctx.Err() == nil:
			log.LogAttrs(ctx, slog.LevelWarn, "purge the inbox", slog.Any("error", err))
		case deleted > 0:
			log.LogAttrs(ctx, slog.LevelDebug, "purged the inbox", slog.Int64("keys", deleted))
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func purgeAll(ctx context.Context, p purger) (int64, error) {
	total := int64(0)
	for {
		n, err := p.Purge(ctx, purgeRows)
		total += n
		if err != nil || n < purgeRows {
			return total, errors.Join(err, ctx.Err())
		}
	}
}
