package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/redrive-dev/redrive/idempotency"
	"github.com/redrive-dev/redrive/redrivenats"
	"github.com/redrive-dev/redrive/server/internal/config"
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
	// kv are those that lie in a broker, by its name.
	kv map[string]idempotency.Store
}

// openInboxes opens what the subscriptions ask for.
func openInboxes(ctx context.Context, c Config, brokers map[string]*Connection, clean *cleanup) (*inboxes, error) {
	out := &inboxes{kv: map[string]idempotency.Store{}}
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
		case "kv":
			if out.kv[s.Broker] != nil {
				continue
			}
			store, err := brokers[s.Broker].openInbox(ctx)
			if err != nil {
				return nil, err
			}
			out.kv[s.Broker] = store
		}
	}
	return out, nil
}

// openInbox opens the inbox that lies in the broker itself. It ends with the
// broker.
func (c *Connection) openInbox(ctx context.Context) (idempotency.Store, error) {
	b, ok := c.Broker.(*redrivenats.Broker)
	if !ok {
		return nil, &BrokerError{
			Broker: c.Name, Err: errors.New("it cannot keep an inbox"),
			Remedy: "choose another inbox.store for its subscriptions",
		}
	}
	store, err := b.OpenInbox(ctx, redrivenats.InboxConfig{})
	if err != nil {
		return nil, &BrokerError{
			Broker: c.Name, Err: err,
			Remedy: "see that redrive may create key-value buckets there, or choose another inbox.store",
		}
	}
	return store, nil
}

// store returns the store that a subscription has chosen, nil for none.
func (i *inboxes) store(s config.Subscription) idempotency.Store {
	switch s.Inbox.Store {
	case "memory":
		return i.memory
	case "sqlite":
		return i.sqlite
	case "kv":
		return i.kv[s.Broker]
	}
	return nil
}

// purger deletes what a store no longer needs.
type purger interface {
	Purge(ctx context.Context, limit int) (int64, error)
}

// purge deletes now and every purgeEvery until the context ends. A failure is
// logged and tried again: keys that stay too long do no harm.
func purge(ctx context.Context, what string, p purger, log *slog.Logger) {
	ticker := time.NewTicker(purgeEvery)
	defer ticker.Stop()
	for {
		deleted, err := purgeAll(ctx, p)
		switch {
		case err != nil && ctx.Err() == nil:
			log.LogAttrs(ctx, slog.LevelWarn, "delete what is past its time", slog.String("store", what), slog.Any("error", err))
		case deleted > 0:
			log.LogAttrs(ctx, slog.LevelDebug, "deleted what is past its time", slog.String("store", what), slog.Int64("rows", deleted))
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
