package embednats

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Values of Config.Sync.
const (
	// SyncAlways syncs every write before it is confirmed.
	SyncAlways = "always"
	// SyncDefault syncs every two minutes: some ten to thirty times faster, and a
	// power failure loses what was confirmed since. A crash of the process alone
	// loses nothing.
	SyncDefault = "default"
)

// Config says how the server runs.
type Config struct {
	// DataDir holds the streams, the lock, the token and the URL. It is made if it
	// is missing. Required.
	DataDir string
	// Sync is SyncAlways or SyncDefault. Default: SyncAlways.
	Sync string
	// Port to listen on at the loopback address, 0 for any free one. Default: 0.
	Port int
	// MaxStore bounds the bytes on disk, 0 for three quarters of what is free.
	// Default: 0.
	MaxStore int64
	// MaxPayload is the largest message in bytes, headers included, at most 64 MiB.
	// Default: 1 MiB.
	MaxPayload int32
	// StartTimeout bounds the recovery of the streams. Default: 2 min.
	StartTimeout time.Duration
	// Logger receives the server's own log. Default: discarded.
	Logger *slog.Logger
}

// WithDefaults returns a copy with the defaults filled in.
func (c Config) WithDefaults() Config {
	if c.Sync == "" {
		c.Sync = SyncAlways
	}
	if c.MaxPayload == 0 {
		c.MaxPayload = 1 << 20
	}
	if c.StartTimeout == 0 {
		c.StartTimeout = 2 * time.Minute
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Validate returns every problem of the configuration, joined, each naming its
// field. Call it on what WithDefaults returned.
func (c Config) Validate() error {
	return errors.Join(
		check(c.DataDir != "", "DataDir: is missing"),
		check(c.Sync == SyncAlways || c.Sync == SyncDefault, "Sync: %q must be %q or %q", c.Sync, SyncAlways, SyncDefault),
		check(c.Port >= 0 && c.Port <= 65_535, "Port: %d must be 0 to 65535", c.Port),
		check(c.MaxStore >= 0, "MaxStore: %d must not be negative", c.MaxStore),
		check(c.MaxPayload >= 1024 && c.MaxPayload <= 64<<20, "MaxPayload: %d must be 1 KiB to 64 MiB", c.MaxPayload),
		check(c.StartTimeout > 0, "StartTimeout: %v must be positive", c.StartTimeout),
	)
}

func check(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf("embednats: "+format, args...)
}
