package sqlinbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redrive-dev/redrive/idempotency"
	"github.com/redrive-dev/redrive/internal/sqltable"
)

// Inbox is an [idempotency.Store] and [idempotency.Extender] in a table of a
// database. It is safe for concurrent use, by any number of processes.
type Inbox struct {
	db  *sql.DB
	cfg Config
	sql statements
}

var (
	_ idempotency.Store    = (*Inbox)(nil)
	_ idempotency.Extender = (*Inbox)(nil)
)

// New returns an inbox in the database, which stays the caller's to close. It
// does not touch the database: call Migrate once before the first claim, or
// create the table of Schema by other means.
//
// On SQLite, open the database with a busy timeout and with immediate
// transactions, or writers get "database is locked" at once.
func New(db *sql.DB, cfg Config) (*Inbox, error) {
	cfg = cfg.WithDefaults()
	err := cfg.Validate()
	if db == nil {
		err = errors.Join(errors.New("db: nil"), err)
	}
	if err != nil {
		return nil, fmt.Errorf("inbox configuration: %w", err)
	}
	return &Inbox{db: db, cfg: cfg, sql: statementsFor(cfg)}, nil
}

// Schema returns the statements that create the table, each ended by a
// semicolon, for those who run migrations themselves. They can be run again.
func (i *Inbox) Schema() string {
	return strings.Join(i.sql.schema, ";\n") + ";\n"
}

// Migrate creates the table if it does not exist. It can be called by several
// processes at once.
func (i *Inbox) Migrate(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, i.cfg.Timeout)
	defer cancel()
	err := sqltable.Create(ctx, i.db, i.sql.lock, i.sql.schema)
	if err != nil {
		return fmt.Errorf("create inbox table %s: %w", i.cfg.Table, err)
	}
	return nil
}

// claimTries bounds how often Claim looks again at a row that others change
// under its eyes.
const claimTries = 3

// Claim implements [idempotency.Store]. After an error the claim may have been
// made; then the key is busy until the lease ends.
func (i *Inbox) Claim(ctx context.Context, key, group, fingerprint string, lease time.Duration) (idempotency.Result, error) {
	if err := idempotency.CheckClaim(key, group, lease); err != nil {
		return idempotency.Result{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, i.cfg.Timeout)
	defer cancel()
	for range claimTries {
		r, err := i.try(ctx, key, group, fingerprint, lease)
		if err != nil {
			return idempotency.Result{}, fmt.Errorf("claim key %q of group %q in inbox %s: %w", key, group, i.cfg.Table, err)
		}
		if r.State != 0 {
			return r, nil
		}
	}
	// Several others claimed and released it meanwhile; one of them may have it.
	return idempotency.Result{State: idempotency.Busy, BusyUntil: i.cfg.Now()}, nil
}

// try claims once. The zero state means that the row became free between the
// refused claim and the look at it.
func (i *Inbox) try(ctx context.Context, key, group, fingerprint string, lease time.Duration) (idempotency.Result, error) {
	now := i.cfg.Now().UnixMilli()
	until := now + leaseMillis(lease)
	token, claimed, err := i.insert(ctx, group, key, fingerprint, until, until+i.cfg.Retention.Milliseconds(), now)
	if err != nil {
		return idempotency.Result{}, err
	}
	if claimed {
		return idempotency.Result{State: idempotency.Claimed, Claim: idempotency.Claim{
			Key: key, Group: group, Fingerprint: fingerprint, Token: token, Until: time.UnixMilli(until).UTC(),
		}}, nil
	}
	var (
		stored string
		state  int
	)
	err = i.db.QueryRowContext(ctx, i.sql.look, group, key).Scan(&stored, &state, &until)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return idempotency.Result{}, nil
	case err != nil:
		return idempotency.Result{}, err
	case until <= now:
		return idempotency.Result{}, nil
	case state == rowClaimed:
		return idempotency.Result{State: idempotency.Busy, BusyUntil: time.UnixMilli(until).UTC()}, nil
	case state == rowDone && stored == fingerprint:
		return idempotency.Result{State: idempotency.Done}, nil
	case state == rowDone:
		return idempotency.Result{State: idempotency.Conflict}, nil
	}
	return idempotency.Result{}, fmt.Errorf("row in unknown state %d: was it written by a newer release?", state)
}

// insert runs the claiming statement. It reads to the end of the rows, because a
// database may report only there that the write failed.
func (i *Inbox) insert(ctx context.Context, args ...any) (token int64, claimed bool, err error) {
	rows, err := i.db.QueryContext(ctx, i.sql.claim, args...)
	if err != nil {
		return 0, false, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := rows.Scan(&token); err != nil {
			return 0, false, err
		}
		claimed = true
	}
	return token, claimed, rows.Err()
}

// leaseMillis rounds up, so that a short lease is not none.
func leaseMillis(d time.Duration) int64 {
	return max(1, d.Milliseconds())
}

// Complete implements [idempotency.Store]. A claim that CompleteTx completed is
// completed already, which is no error.
func (i *Inbox) Complete(ctx context.Context, c idempotency.Claim) error {
	return i.complete(ctx, i.db, c)
}

// execer is the part of sql.DB and sql.Tx that a write needs.
type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

func (i *Inbox) complete(ctx context.Context, on execer, c idempotency.Claim) error {
	now := i.cfg.Now().UnixMilli()
	return i.change(ctx, on, "complete", c, i.sql.complete, now+i.cfg.Retention.Milliseconds(), now)
}

// Extend implements [idempotency.Extender].
func (i *Inbox) Extend(ctx context.Context, c idempotency.Claim, lease time.Duration) error {
	if err := idempotency.CheckClaim(c.Key, c.Group, lease); err != nil {
		return err
	}
	until := i.cfg.Now().UnixMilli() + leaseMillis(lease)
	return i.change(ctx, i.db, "extend", c, i.sql.extend, until, until+i.cfg.Retention.Milliseconds())
}

// Release implements [idempotency.Store].
func (i *Inbox) Release(ctx context.Context, c idempotency.Claim) error {
	purge := i.cfg.Now().UnixMilli() + i.cfg.Retention.Milliseconds()
	err := i.change(ctx, i.db, "release", c, i.sql.release, purge)
	if errors.Is(err, idempotency.ErrFenced) {
		return nil
	}
	return err
}

// change runs a statement on the row that the claim holds. ErrFenced if it holds
// none.
func (i *Inbox) change(ctx context.Context, on execer, what string, c idempotency.Claim, statement string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, i.cfg.Timeout)
	defer cancel()
	result, err := on.ExecContext(ctx, statement, append([]any{c.Group, c.Key, c.Token}, args...)...)
	var changed int64
	if err == nil {
		changed, err = result.RowsAffected()
	}
	if err == nil && changed == 0 {
		err = idempotency.ErrFenced
	}
	if err != nil {
		return fmt.Errorf("%s key %q of group %q in inbox %s: %w", what, c.Key, c.Group, i.cfg.Table, err)
	}
	return nil
}

// Purge deletes at most limit rows that are no longer needed, oldest first, and
// returns how many. Fewer than limit means that none are left for now. The
// limit must be positive.
//
// A claim that was neither completed nor taken over is deleted with its token
// after the retention: a handler that runs longer than that is no longer fenced.
func (i *Inbox) Purge(ctx context.Context, limit int) (int64, error) {
	if limit <= 0 {
		return 0, fmt.Errorf("purge inbox %s: limit %d, want more than 0", i.cfg.Table, limit)
	}
	ctx, cancel := context.WithTimeout(ctx, i.cfg.Timeout)
	defer cancel()
	result, err := i.db.ExecContext(ctx, i.sql.purge, i.cfg.Now().UnixMilli(), limit)
	if err != nil {
		return 0, fmt.Errorf("purge inbox %s: %w", i.cfg.Table, err)
	}
	return result.RowsAffected()
}
