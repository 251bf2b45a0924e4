package redrivenats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/idempotency"
)

// InboxConfig configures OpenInbox.
type InboxConfig struct {
	// Bucket is the name of the key-value bucket: letters, digits, '-' and '_'.
	// Default: the broker's prefix and "_inbox".
	Bucket string
	// Retention is how long the key of a handled message is kept, and the longest
	// lease. A bucket that exists keeps the age that it was made with.
	// Default: 7 days.
	Retention time.Duration
	// Now is the clock. Leases are compared with the clocks of all workers, which
	// must not be further apart than a lease can spare. Default: time.Now.
	Now func() time.Time
}

// WithDefaults returns a copy with the defaults filled in. The default of Bucket
// depends on the broker and is left to OpenInbox.
func (c InboxConfig) WithDefaults() InboxConfig {
	if c.Retention == 0 {
		c.Retention = 7 * 24 * time.Hour
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

// Validate returns every problem of the configuration, joined, each naming its
// field. Call it on what WithDefaults returned.
func (c InboxConfig) Validate() error {
	return errors.Join(
		check(c.Bucket == "" || validBucket(c.Bucket), "Bucket: %q must be 1 to 128 letters, digits, '-' or '_'", c.Bucket),
		check(c.Retention >= time.Minute, "Retention: %v must be at least 1 min", c.Retention),
	)
}

func validBucket(name string) bool {
	if len(name) > 128 {
		return false
	}
	for i := range len(name) {
		if c := name[i]; !isAlphanumeric(c) && c != '-' && c != '_' {
			return false
		}
	}
	return name != ""
}

// Inbox is an [idempotency.Store] and [idempotency.Extender] in a JetStream
// key-value bucket. It is safe for concurrent use, by any number of processes.
//
// A claim is a row that is written only over the revision that was read, so
// that of two workers one gets it, and the revision is the claim's token. The
// server forgets rows by their age.
//
// The row is not in the transaction of any effect. What the inbox gives is that
// a message which was completed is not handled again, and that two workers do
// not handle it at once while leases hold. A worker that dies after its effect
// and before Complete leaves a claim that ends, and the message is handled
// again: an effect that must happen once needs a store that commits with it,
// such as sqlinbox, or an endpoint that honours the key. Against a power failure
// a completed key is as safe as the server's sync interval and replicas make any
// write.
type Inbox struct {
	b         *Broker
	bucket    string
	retention time.Duration
	now       func() time.Time
}

var (
	_ idempotency.Store    = (*Inbox)(nil)
	_ idempotency.Extender = (*Inbox)(nil)
)

// OpenInbox opens an inbox on the broker's connection, and creates its bucket
// with Config.Replicas if there is none. It refuses a bucket that would forget
// keys before their time. The inbox ends with the broker.
func (b *Broker) OpenInbox(ctx context.Context, c InboxConfig) (*Inbox, error) {
	c = c.WithDefaults()
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.Bucket == "" {
		c.Bucket = b.layout.inboxBucket()
	}
	stream := "KV_" + c.Bucket
	info, err := b.streamInfo(ctx, stream)
	if hasCode(err, codeStreamNotFound) {
		_, err = b.js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket: c.Bucket, Description: "redrive: keys of handled messages",
			History: 1, TTL: c.Retention, Storage: jetstream.FileStorage, Replicas: b.config.Replicas,
		})
		if err != nil && !errors.Is(err, jetstream.ErrBucketExists) {
			return nil, fmt.Errorf("create bucket %s: %w", c.Bucket, err)
		}
		info, err = b.streamInfo(ctx, stream)
	}
	if err != nil {
		return nil, fmt.Errorf("open inbox: %w", err)
	}
	if err := errors.Join(append(checkInbox(info.Config, c.Retention), b.checkReplicas(info.Config)...)...); err != nil {
		return nil, fmt.Errorf("open inbox: %w", err)
	}
	return &Inbox{b: b, bucket: c.Bucket, retention: c.Retention, now: c.Now}, nil
}

// checkInbox lists what would make an inbox forget or mix up keys.
func checkInbox(c jetstream.StreamConfig, retention time.Duration) []error {
	limited := c.MaxMsgs > 0 || c.MaxBytes > 0
	return problems(c.Name, []finding{
		{c.MaxAge > 0 && c.MaxAge < retention, fmt.Sprintf("max_age is %v and the retention %v: handled keys would be forgotten too early; raise max_age", c.MaxAge, retention)},
		{c.MaxMsgsPerSubject != 1, "history is not 1: a released claim would show the one before it"},
		{limited && c.Discard != jetstream.DiscardNew, "a full bucket drops its oldest keys: set discard to new or remove the limit"},
		{c.Storage != jetstream.FileStorage, "storage is memory: keys are lost when the server restarts"},
	})
}

// inboxRow is a row as it is stored. Key and group may hold any bytes.
type inboxRow struct {
	Key         []byte `json:"key"`
	Group       []byte `json:"group"`
	Fingerprint []byte `json:"fingerprint"`
	// Token is 0 in the row that made the claim: its revision is the token. It is
	// freed in one that was released.
	Token int64 `json:"token,omitempty"`
	// Until is the end of the lease, or of the time that a handled key is kept, in
	// Unix nanoseconds.
	Until int64 `json:"until"`
	Done  bool  `json:"done,omitempty"`
}

func newRow(c idempotency.Claim, until time.Time, done bool) inboxRow {
	return inboxRow{
		Key: []byte(c.Key), Group: []byte(c.Group), Fingerprint: []byte(c.Fingerprint),
		Token: c.Token, Until: until.UnixNano(), Done: done,
	}
}

// over reports whether the row says nothing any more.
func (r inboxRow) over(now time.Time) bool { return now.UnixNano() >= r.Until }

// claimTries bounds how often a row that others change under our eyes is read
// again.
const claimTries = 4

// Claim implements [idempotency.Store]. After an error the claim may have been
// made; then the key is busy until the lease ends.
func (i *Inbox) Claim(ctx context.Context, key, group, fingerprint string, lease time.Duration) (idempotency.Result, error) {
	if err := idempotency.CheckClaim(key, group, lease); err != nil {
		return idempotency.Result{}, err
	}
	if lease > i.retention {
		return idempotency.Result{}, fmt.Errorf("invalid claim: lease: %v, longer than the retention of bucket %s, %v", lease, i.bucket, i.retention)
	}
	// Nearly every key is new, and then nothing has to be read.
	revision := uint64(0)
	for try := range claimTries {
		now := i.now()
		if try > 0 {
			row, found, err := i.read(ctx, key, group)
			if err != nil {
				return idempotency.Result{}, i.failed("claim", key, group, err)
			}
			if found > 0 && !row.over(now) {
				return row.answer(fingerprint), nil
			}
			revision = found
		}
		c := idempotency.Claim{Key: key, Group: group, Fingerprint: fingerprint, Until: now.Add(lease)}
		written, err := i.write(ctx, newRow(c, c.Until, false), revision)
		if errors.Is(err, errRevision) {
			continue
		}
		if err != nil {
			return idempotency.Result{}, i.failed("claim", key, group, err)
		}
		c.Token = int64(written)
		return idempotency.Result{State: idempotency.Claimed, Claim: c}, nil
	}
	// Several others claimed and released it meanwhile; one of them may have it.
	return idempotency.Result{State: idempotency.Busy, BusyUntil: i.now()}, nil
}

// answer is what a row that is in force says to a claim.
func (r inboxRow) answer(fingerprint string) idempotency.Result {
	switch {
	case !r.Done:
		return idempotency.Result{State: idempotency.Busy, BusyUntil: time.Unix(0, r.Until)}
	case string(r.Fingerprint) == fingerprint:
		return idempotency.Result{State: idempotency.Done}
	}
	return idempotency.Result{State: idempotency.Conflict}
}

// Complete implements [idempotency.Store]. After an error it may have been
// completed; completing again is no error.
func (i *Inbox) Complete(ctx context.Context, c idempotency.Claim) error {
	if c.Token <= 0 {
		return i.failed("complete", c.Key, c.Group, idempotency.ErrFenced)
	}
	// Unless it was extended, the row is the one that made the claim.
	row := newRow(c, i.now().Add(i.retention), true)
	_, err := i.write(ctx, row, uint64(c.Token))
	if errors.Is(err, errRevision) {
		err = i.change(ctx, c, func(now inboxRow) (inboxRow, bool) { return row, !now.Done })
	}
	if err != nil {
		return i.failed("complete", c.Key, c.Group, err)
	}
	return nil
}

// Extend implements [idempotency.Extender].
func (i *Inbox) Extend(ctx context.Context, c idempotency.Claim, lease time.Duration) error {
	if err := idempotency.CheckClaim(c.Key, c.Group, lease); err != nil {
		return err
	}
	if lease > i.retention {
		return fmt.Errorf("invalid claim: lease: %v, longer than the retention of bucket %s, %v", lease, i.bucket, i.retention)
	}
	done := false
	err := i.change(ctx, c, func(now inboxRow) (inboxRow, bool) {
		done = now.Done
		return newRow(c, i.now().Add(lease), false), !done
	})
	if err == nil && done {
		err = idempotency.ErrFenced
	}
	if err != nil {
		return i.failed("extend", c.Key, c.Group, err)
	}
	return nil
}

// freed is the token of a row that nobody holds.
const freed = -1

// Release implements [idempotency.Store]. The row stays until the next claim or
// its age, without the fingerprint: buckets do not allow messages to be deleted.
func (i *Inbox) Release(ctx context.Context, c idempotency.Claim) error {
	free := newRow(idempotency.Claim{Key: c.Key, Group: c.Group, Token: freed}, time.Unix(0, 0), false)
	err := i.change(ctx, c, func(now inboxRow) (inboxRow, bool) { return free, !now.Done })
	if err != nil && !errors.Is(err, idempotency.ErrFenced) {
		return i.failed("release", c.Key, c.Group, err)
	}
	return nil
}

// change writes a row over the one that the claim holds, if edit wants to.
func (i *Inbox) change(ctx context.Context, c idempotency.Claim, edit func(now inboxRow) (inboxRow, bool)) error {
	for range claimTries {
		now, revision, err := i.held(ctx, c)
		if err != nil {
			return err
		}
		row, wanted := edit(now)
		if !wanted {
			return nil
		}
		if _, err = i.write(ctx, row, revision); !errors.Is(err, errRevision) {
			return err
		}
	}
	return fmt.Errorf("changed %d times meanwhile: %w", claimTries, errRevision)
}

// held reads the row that a claim holds. ErrFenced if it holds none. A handled
// key whose time is over is gone.
func (i *Inbox) held(ctx context.Context, c idempotency.Claim) (inboxRow, uint64, error) {
	row, revision, err := i.read(ctx, c.Key, c.Group)
	if err != nil {
		return inboxRow{}, 0, err
	}
	token := row.Token
	if token == 0 {
		token = int64(revision)
	}
	if revision == 0 || token <= 0 || token != c.Token || row.Done && row.over(i.now()) {
		return inboxRow{}, 0, idempotency.ErrFenced
	}
	return row, revision, nil
}

// errRevision: the row is not the one that was to be written over.
var errRevision = errors.New("somebody else changed the row")

// write stores a row if the newest one has that revision, 0 for none.
func (i *Inbox) write(ctx context.Context, row inboxRow, over uint64) (uint64, error) {
	raw, err := json.Marshal(row)
	if err != nil {
		return 0, err
	}
	m := &nats.Msg{Subject: i.subject(string(row.Key), string(row.Group)), Data: raw, Header: nats.Header{
		jetstream.ExpectedLastSubjSeqHeader: []string{strconv.FormatUint(over, 10)},
	}}
	if err := i.b.checkSize(m); err != nil {
		return 0, err
	}
	ack, err := i.b.req.publish(ctx, m)
	switch {
	case hasCode(err, codeWrongSequence, codeWrongSequenceReplicated):
		return 0, errRevision
	case errors.Is(err, broker.ErrFull):
		return 0, fmt.Errorf("%w: %w", idempotency.ErrFull, err)
	}
	return ack.Sequence, err
}

// read reads the newest row and its revision, 0 if there is none, from the
// bucket's leader.
func (i *Inbox) read(ctx context.Context, key, group string) (inboxRow, uint64, error) {
	stored, err := i.b.getMessage(ctx, "KV_"+i.bucket, getRequest{LastFor: i.subject(key, group)})
	if errors.Is(err, broker.ErrGone) {
		return inboxRow{}, 0, nil
	}
	if err != nil {
		return inboxRow{}, 0, err
	}
	var row inboxRow
	if err := json.Unmarshal(stored.body, &row); err != nil {
		return inboxRow{}, 0, fmt.Errorf("row %s of bucket %s cannot be read: was it written by a newer release? %w", stored.subject, i.bucket, err)
	}
	if string(row.Key) != key || string(row.Group) != group {
		return inboxRow{}, 0, fmt.Errorf("row %s of bucket %s belongs to another key: was it written by hand?", stored.subject, i.bucket)
	}
	return row, stored.sequence, nil
}

// subject names the row of a key. A digest stands for the key, which may hold
// what a subject cannot; the group before it is for people.
func (i *Inbox) subject(key, group string) string {
	name := token(group)
	if group == "" {
		name = "_"
	}
	return "$KV." + i.bucket + "." + name + "." + digest(strconv.Itoa(len(group))+":"+group+key)
}

func (i *Inbox) failed(what, key, group string, err error) error {
	return fmt.Errorf("%s key %q of group %q in bucket %s: %w", what, key, group, i.bucket, err)
}
