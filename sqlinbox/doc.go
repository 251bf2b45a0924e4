// Package sqlinbox keeps the inbox in the database of the handler, so that the
// record "this message was handled" commits in the same transaction as what the
// handler did. Then the message takes effect once for as long as the inbox keeps
// its key, whatever crashes, and whenever.
//
// It works over database/sql with the driver that the caller has opened, on
// SQLite (3.35 or newer) and PostgreSQL (9.5 or newer). [New] makes an
// [Inbox], [Inbox.Migrate] creates its table, and a worker is given the inbox as its
// [idempotency.Store]. The handler does its work with [Inbox.InTx]:
//
//	err := inbox.InTx(ctx, func(tx *sql.Tx) error {
//		_, err := tx.ExecContext(ctx, "UPDATE accounts SET …")
//		return err
//	})
//
// or calls [Inbox.CompleteTx] in a transaction of its own, on the same database. If
// another worker has taken the message over in the meantime, both fail with
// [idempotency.ErrFenced] and nothing is committed.
//
// # Time
//
// Leases are measured with the clock of the worker that asks. The clocks of
// workers that share an inbox must agree to well within a lease; where they do
// not, a claim is taken over early, and fencing still lets only one of the
// handlers commit.
//
// # Size
//
// A handled key is kept for Config.Retention. It should be longer than messages can
// stay in a dead-letter queue and still be replayed: the replay of an older one
// would take effect again. [Inbox.Purge] deletes what is past it, a bounded
// number of rows a call, and must be called now and then.
package sqlinbox
