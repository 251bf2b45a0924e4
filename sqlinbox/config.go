package sqlinbox

import (
	"errors"
	"fmt"
	"time"

	"github.com/redrive-dev/redrive/internal/sqltable"
)

// Dialect is the SQL that a database speaks.
type Dialect string

// The dialects.
const (
	SQLite     Dialect = "sqlite"
	PostgreSQL Dialect = "postgresql"
)

// Config configures an Inbox.
type Config struct {
	// Dialect is the SQL that the database speaks. Required.
	Dialect Dialect
	// Table is the name of the table: letters, digits and underscores, on
	// PostgreSQL with an optional schema and a dot before it.
	// Default: "redrive_inbox".
	Table string
	// Retention is how long the key of a handled message is kept.
	// Default: 7 days.
	Retention time.Duration
	// Timeout bounds each statement, unless the caller's context ends earlier.
	// Default: 5 s.
	Timeout time.Duration
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// WithDefaults returns a copy with the defaults filled in.
func (c Config) WithDefaults() Config {
	if c.Table == "" {
		c.Table = "redrive_inbox"
	}
	if c.Retention == 0 {
		c.Retention = 7 * 24 * time.Hour
	}
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Validate reports every problem of the configuration, each with its field.
func (c Config) Validate() error {
	c = c.WithDefaults()
	var problems []error
	if c.Dialect != SQLite && c.Dialect != PostgreSQL {
		problems = append(problems, fmt.Errorf("dialect: %q, want %q or %q", c.Dialect, SQLite, PostgreSQL))
	}
	if !sqltable.Valid(c.Table, c.Dialect == PostgreSQL) {
		problems = append(problems, fmt.Errorf("table: %q, want at most 48 letters, digits and underscores, not beginning with a digit", c.Table))
	}
	if c.Retention < time.Minute {
		problems = append(problems, fmt.Errorf("retention: %v, want at least 1m", c.Retention))
	}
	if c.Timeout < 0 {
		problems = append(problems, fmt.Errorf("timeout: %v, want more than 0", c.Timeout))
	}
	return errors.Join(problems...)
}
