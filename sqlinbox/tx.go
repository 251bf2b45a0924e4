package sqlinbox

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/redrive-dev/redrive/idempotency"
	"github.com/redrive-dev/redrive/internal/sqltable"
)

// CompleteTx completes the claim of the message that is being handled, inside
// the handler's transaction: it commits and rolls back with the handler's work.
// The transaction must be on the inbox's database. Call it last, before Commit:
// the row stays locked until then.
//
// The errors to decide on are [idempotency.ErrNoClaim] if the context carries no
// claim, and [idempotency.ErrFenced] if another worker has the message now. After
// any error the transaction must be rolled back.
func (i *Inbox) CompleteTx(ctx context.Context, tx *sql.Tx) error {
	c, ok := idempotency.ClaimFrom(ctx)
	if !ok {
		return fmt.Errorf("complete in inbox %s: %w", i.cfg.Table, idempotency.ErrNoClaim)
	}
	return i.complete(ctx, tx, c)
}

// InTx runs fn in a transaction, completes the claim of the message that is being
// handled, and commits. After an error or a panic of fn nothing is committed. It
// needs a claim in the context and does not call fn without one.
//
// An error of the commit itself can mean that it was committed; the next
// delivery finds out, because the inbox row tells.
func (i *Inbox) InTx(ctx context.Context, fn func(tx *sql.Tx) error) error {
	if _, ok := idempotency.ClaimFrom(ctx); !ok {
		return fmt.Errorf("transaction of inbox %s: %w", i.cfg.Table, idempotency.ErrNoClaim)
	}
	return sqltable.InTx(ctx, i.db, func(tx *sql.Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		return i.CompleteTx(ctx, tx)
	})
}
