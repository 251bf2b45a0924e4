package app

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/redrive-dev/redrive/server/internal/config"
)

// Look opens a broker of the configuration that runs, to look at it. Unlike
// Connect it never starts the embedded one. Errors are a *BrokerError.
func Look(ctx context.Context, c Config, name string) (*Connection, error) {
	c = c.WithDefaults()
	b, ok := c.Brokers[name]
	switch {
	case !ok:
		return nil, &BrokerError{
			Broker: name, Err: errors.New("there is no broker of this name in the configuration"),
			Remedy: "use one of: " + strings.Join(slices.Sorted(maps.Keys(c.Brokers)), ", "),
		}
	case b.Type == config.BrokerEmbedded:
		return attach(ctx, name, string(c.DataDir))
	}
	return connectRemote(ctx, c, name, slog.New(slog.DiscardHandler))
}
