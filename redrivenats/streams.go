package redrivenats

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/redrive-dev/redrive/broker"
)

// Keys of the metadata on streams and consumers that redrive makes.
const (
	metaKind  = "redrive-kind"
	metaQueue = "redrive-queue"
	metaGroup = "redrive-group"

	kindSource     = "source"
	kindRetry      = "retry"
	kindDeadLetter = "dead-letter"
	kindMarks      = "marks"
	kindOutcomes   = "outcomes"
	kindHeartbeats = "heartbeats"
)

const (
	sourceDedupe = 2 * time.Minute
	// letterDedupe is long because a dead-lettering may be repeated long after a
	// crash. Nearly nothing is published there, so the memory it takes is small.
	letterDedupe = 24 * time.Hour
	// heartbeatLife ends the heartbeats of workers that are gone: there is no end to
	// their names.
	heartbeatLife = 24 * time.Hour
)

func (b *Broker) base(name, kind string, subjects ...string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: name, Subjects: subjects, Storage: jetstream.FileStorage, Replicas: b.config.Replicas,
		AllowDirect: true, Metadata: map[string]string{metaKind: kind},
		Discard: jetstream.DiscardNew, MaxMsgs: -1, MaxBytes: -1, MaxMsgSize: -1, MaxConsumers: -1, MaxMsgsPerSubject: -1,
	}
}

func (b *Broker) sourceConfig(queue, group string) jetstream.StreamConfig {
	name, subject := b.layout.sourceStream(queue), b.layout.sourceSubject(queue)
	if group != broker.DefaultGroup {
		name, subject = b.layout.groupStream(queue, group), b.layout.groupSubject(queue, group)
	}
	c := b.base(name, kindSource, subject)
	c.Retention, c.Duplicates = jetstream.WorkQueuePolicy, sourceDedupe
	c.Metadata[metaQueue], c.Metadata[metaGroup] = queue, group
	return c
}

// retryConfig has no limit of any kind: a stream with schedules cannot refuse
// new messages when it is full, so a limit would drop the oldest retry. A server
// without schedules would ignore that it is asked for them.
func (b *Broker) retryConfig() jetstream.StreamConfig {
	p := b.layout.prefix
	c := b.base(b.layout.retryStream(), kindRetry, p+".sched.>", p+".retry.>")
	c.Retention, c.Discard, c.AllowMsgSchedules, c.Duplicates = jetstream.WorkQueuePolicy, jetstream.DiscardOld, b.level >= levelSchedules, sourceDedupe
	c.AllowRollup = true
	return c
}

func (b *Broker) dlqConfig() jetstream.StreamConfig {
	c := b.base(b.layout.dlqStream(), kindDeadLetter, b.layout.prefix+".dlq.>")
	c.Retention, c.DenyPurge, c.Duplicates = jetstream.LimitsPolicy, true, letterDedupe
	return c
}

// markConfig is a key-value bucket, except that rows can be deleted without a
// trace: the buckets that clients make keep a marker for each deleted key.
func (b *Broker) markConfig() jetstream.StreamConfig {
	c := b.base(b.layout.markStream(), kindMarks, b.layout.markSubject(">"))
	c.Description = "redrive: notes about messages in flight"
	c.MaxMsgsPerSubject, c.MaxAge, c.AllowRollup = 1, b.config.MarkTTL, true
	return c
}

// outcomeConfig is as safe as that of letters: a campaign waits for what is in it.
func (b *Broker) outcomeConfig() jetstream.StreamConfig {
	c := b.base(b.layout.outcomeStream(), kindOutcomes, b.layout.outcomeSubject())
	c.Retention, c.DenyPurge, c.Duplicates = jetstream.LimitsPolicy, true, letterDedupe
	return c
}

func (b *Broker) heartbeatConfig() jetstream.StreamConfig {
	c := b.base(b.layout.heartbeatStream(), kindHeartbeats, b.layout.heartbeatSubjects())
	c.Retention, c.Discard, c.MaxMsgsPerSubject, c.MaxAge = jetstream.LimitsPolicy, jetstream.DiscardOld, 1, heartbeatLife
	c.Duplicates = sourceDedupe
	return c
}

// ensureStream creates a stream unless it exists, and never changes one that
// does.
func (b *Broker) ensureStream(ctx context.Context, config jetstream.StreamConfig) (*jetstream.StreamInfo, error) {
	if info, err := b.streamInfo(ctx, config.Name); err == nil || !hasCode(err, codeStreamNotFound) {
		return info, err
	}
	stream, err := b.js.CreateStream(ctx, config)
	if hasCode(err, codeNameInUse) {
		// Another process made it in the meantime, perhaps with other settings.
		return b.streamInfo(ctx, config.Name)
	}
	if hasCode(err, codeNoPeers, codeNotClustered) {
		return nil, fmt.Errorf("create stream %s with Replicas %d: there are not as many servers with JetStream and room; add servers or lower Replicas: %w", config.Name, config.Replicas, err)
	}
	if err != nil {
		return nil, fmt.Errorf("create stream %s: %w", config.Name, err)
	}
	return stream.CachedInfo(), nil
}

// checkReplicas refuses a stream that fewer servers keep than is configured:
// whoever sets Replicas counts on them.
func (b *Broker) checkReplicas(c jetstream.StreamConfig) []error {
	return problems(c.Name, []finding{{
		c.Replicas < b.config.Replicas,
		fmt.Sprintf("num_replicas is %d, and Replicas asks for %d: raise it with nats stream edit %s --replicas %d, or lower Replicas", c.Replicas, b.config.Replicas, c.Name, b.config.Replicas),
	}})
}

func (b *Broker) streamInfo(ctx context.Context, name string) (*jetstream.StreamInfo, error) {
	stream, err := b.js.Stream(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", name, err)
	}
	return stream.CachedInfo(), nil
}

// ensureShared creates the streams that all subscriptions share and the bucket for
// marks.
func (b *Broker) ensureShared(ctx context.Context) error {
	retry, err := b.ensureStream(ctx, b.retryConfig())
	if err != nil {
		return err
	}
	b.noteRetry(retry.Config)
	dlq, err := b.ensureStream(ctx, b.dlqConfig())
	if err != nil {
		return err
	}
	outcomes, err := b.ensureStream(ctx, b.outcomeConfig())
	if err != nil {
		return err
	}
	heartbeats, err := b.ensureStream(ctx, b.heartbeatConfig())
	if err != nil {
		return err
	}
	marks, err := b.ensureStream(ctx, b.markConfig())
	if err != nil {
		return err
	}
	found := slices.Concat(checkRetry(retry.Config), checkDeadLetter(dlq.Config),
		checkOutcomes(outcomes.Config), checkHeartbeats(heartbeats.Config))
	for _, info := range []*jetstream.StreamInfo{retry, dlq, outcomes, heartbeats, marks} {
		found = append(found, b.checkReplicas(info.Config)...)
	}
	return errors.Join(found...)
}

// noteRetry takes from the retry stream how retries wait: one that an old server
// made has no schedules after an upgrade either, until somebody turns them on.
func (b *Broker) noteRetry(c jetstream.StreamConfig) { b.naks.Store(!c.AllowMsgSchedules) }

// probeRetry looks how retries wait. Without a retry stream that follows from the
// server.
func (b *Broker) probeRetry(ctx context.Context) error {
	info, err := b.streamInfo(ctx, b.layout.retryStream())
	switch {
	case err == nil:
		b.noteRetry(info.Config)
	case !hasCode(err, codeStreamNotFound):
		return err
	}
	return nil
}

// checkRetry lists what would lose messages in a retry stream. One of redrive's
// own without schedules comes from an old server, and its retries wait by delayed
// negative acknowledgements.
func checkRetry(c jetstream.StreamConfig) []error {
	return problems(c.Name, []finding{
		{!c.AllowMsgSchedules && c.Metadata[metaKind] != kindRetry, "allow_msg_schedules is off: retries cannot wait; it can be turned on"},
		{c.Retention != jetstream.WorkQueuePolicy, "retention is not work queue: handled retries would stay"},
		{c.MaxAge > 0, "max_age drops retries before they are due: remove it"},
		{c.MaxMsgs > 0 || c.MaxBytes > 0 || c.MaxMsgsPerSubject > 0, "a limit drops the oldest retry when it is reached: remove it"},
		{c.Storage != jetstream.FileStorage, "storage is memory: retries are lost when the server restarts"},
	})
}

// checkDeadLetter lists what would lose letters.
func checkDeadLetter(c jetstream.StreamConfig) []error {
	limited := c.MaxMsgs > 0 || c.MaxBytes > 0
	return problems(c.Name, []finding{
		{c.Retention != jetstream.LimitsPolicy, "retention is not limits: letters vanish when something consumes them"},
		{c.MaxAge > 0, "max_age drops letters: remove it"},
		{limited && c.Discard != jetstream.DiscardNew, "a full stream drops its oldest letters: set discard to new or remove the limit"},
		{c.MaxMsgsPerSubject > 0 && !c.DiscardNewPerSubject, "max_msgs_per_subject drops a queue's oldest letters: remove it"},
		{c.Storage != jetstream.FileStorage, "storage is memory: letters are lost when the server restarts"},
	})
}

// checkOutcomes lists what would lose outcomes.
func checkOutcomes(c jetstream.StreamConfig) []error {
	limited := c.MaxMsgs > 0 || c.MaxBytes > 0 || c.MaxMsgsPerSubject > 0
	return problems(c.Name, []finding{
		{c.Retention != jetstream.LimitsPolicy, "retention is not limits: outcomes vanish when something consumes them"},
		{c.MaxAge > 0, "max_age drops outcomes that nobody has read: remove it"},
		{limited, "a limit drops outcomes, or holds up replayed messages when it is reached: remove it"},
		{c.Storage != jetstream.FileStorage, "storage is memory: outcomes are lost when the server restarts"},
	})
}

// checkHeartbeats lists what would hide workers that are alive.
func checkHeartbeats(c jetstream.StreamConfig) []error {
	return problems(c.Name, []finding{
		{c.Retention != jetstream.LimitsPolicy, "retention is not limits: heartbeats vanish when something consumes them"},
		{c.MaxMsgsPerSubject != 1, "max_msgs_per_subject is not 1: older heartbeats of a worker stay"},
		{c.MaxAge > 0 && c.MaxAge < time.Minute, "max_age is below a minute: heartbeats end before the next one comes"},
		{c.Discard != jetstream.DiscardOld, "discard is not old: a new heartbeat is refused"},
	})
}

// checkSource lists what would lose messages in a source that redrive made.
func checkSource(c jetstream.StreamConfig) []error {
	limited := c.MaxMsgs > 0 || c.MaxBytes > 0 || c.MaxMsgsPerSubject > 0
	return problems(c.Name, []finding{
		{c.Retention != jetstream.WorkQueuePolicy, "retention is not work queue"},
		{c.MaxAge > 0, "max_age drops messages that nobody handled: remove it"},
		{limited && c.Discard != jetstream.DiscardNew, "a full stream drops its oldest messages: set discard to new or remove the limit"},
	})
}

// checkConsumer lists what makes a durable that somebody else made lose or
// strand messages.
func checkConsumer(c jetstream.ConsumerConfig) []error {
	return problems(c.Durable, []finding{
		{c.AckPolicy != jetstream.AckExplicitPolicy, "ack_policy is not explicit: one acknowledgement would settle other messages"},
		{c.MaxDeliver > 0, "max_deliver strands a message in the stream when it is reached: set it to -1"},
		{len(c.BackOff) > 0, "backoff changes when released messages come back, and not as asked: remove it"},
		{c.DeliverSubject != "", "it is a push consumer: redrive pulls"},
		{c.PriorityPolicy != jetstream.PriorityPolicyNone, "it has priority groups, which redrive does not ask for"},
	})
}

type finding struct {
	bad  bool
	text string
}

func problems(name string, findings []finding) []error {
	var out []error
	for _, f := range findings {
		if f.bad {
			out = append(out, fmt.Errorf("%s: %s", name, f.text))
		}
	}
	return out
}

// source is a stream that a queue's name stands for.
type source struct {
	stream  string
	created time.Time
	// owned says that redrive made it.
	owned bool
	// filter is the subject to consume, empty for all.
	filter string
	// subject is where to publish, empty if that is not one subject.
	subject    string
	queue      string
	duplicates time.Duration
	direct     bool
	retention  jetstream.RetentionPolicy
	consumers  int
	notes      []string
}

// streamIdentity tells a stream from a recreated one of the same name.
func streamIdentity(name string, created time.Time) string {
	return name + "@" + strconv.FormatInt(created.UnixNano(), 10)
}

// source finds the stream of a queue: one that redrive made, one that listens on
// the subject, one with that name. ErrUnroutable if there is none.
func (b *Broker) source(ctx context.Context, queue, group string) (source, error) {
	own := b.sourceConfig(queue, group)
	info, err := b.streamInfo(ctx, own.Name)
	if err == nil {
		return ownSource(info, queue), nil
	}
	if !hasCode(err, codeStreamNotFound) {
		return source{}, err
	}
	return b.foreignSource(ctx, queue)
}

func ownSource(info *jetstream.StreamInfo, queue string) source {
	return source{
		stream: info.Config.Name, created: info.Created, owned: true, queue: queue,
		subject: info.Config.Subjects[0], duplicates: info.Config.Duplicates,
		direct: info.Config.AllowDirect, retention: info.Config.Retention,
	}
}

// foreignSource finds a stream that redrive did not make.
func (b *Broker) foreignSource(ctx context.Context, queue string) (source, error) {
	missing := fmt.Errorf("no stream for queue %q: %w", queue, broker.ErrUnroutable)
	if publishable(queue) {
		name, err := b.js.StreamNameBySubject(ctx, queue)
		switch {
		case err == nil:
			return b.foreignInfo(ctx, name, queue, queue)
		case !errors.Is(err, jetstream.ErrStreamNotFound):
			return source{}, fmt.Errorf("find the stream of subject %q: %w", queue, err)
		}
	}
	if !legalName(queue) {
		return source{}, missing
	}
	s, err := b.foreignInfo(ctx, queue, queue, "")
	if hasCode(err, codeStreamNotFound) {
		return source{}, missing
	}
	return s, err
}

func (b *Broker) foreignInfo(ctx context.Context, name, queue, subject string) (source, error) {
	info, err := b.streamInfo(ctx, name)
	if err != nil {
		return source{}, err
	}
	c := info.Config
	if c.Metadata[metaKind] != "" {
		// One of redrive's own: a group's stream, another prefix, or where retries and
		// letters lie. None of them is a queue under this name.
		return source{}, fmt.Errorf("no stream for queue %q: %w", queue, broker.ErrUnroutable)
	}
	s := source{
		stream: name, created: info.Created, queue: queue, filter: subject, subject: subject,
		duplicates: c.Duplicates, direct: c.AllowDirect, retention: c.Retention, consumers: info.State.Consumers,
	}
	if len(c.Subjects) == 1 && c.Subjects[0] == subject {
		// A filter that matches everything costs the server work for nothing.
		s.filter = ""
	}
	if subject == "" && len(c.Subjects) == 1 && publishable(c.Subjects[0]) {
		s.subject = c.Subjects[0]
	}
	s.notes = foreignNotes(c)
	return s, nil
}

// foreignNotes tells the owner of a stream what its settings mean here.
func foreignNotes(c jetstream.StreamConfig) []string {
	var notes []string
	if c.MaxAge > 0 {
		notes = append(notes, fmt.Sprintf("Stream %s drops messages after %v, handled or not.", c.Name, c.MaxAge))
	}
	if (c.MaxMsgs > 0 || c.MaxBytes > 0 || c.MaxMsgsPerSubject > 0) && c.Discard == jetstream.DiscardOld {
		notes = append(notes, fmt.Sprintf("Stream %s drops its oldest messages when it is full, handled or not.", c.Name))
	}
	if c.Retention == jetstream.LimitsPolicy {
		notes = append(notes, fmt.Sprintf("Stream %s keeps handled messages; acknowledgements of the last tenth of a second before a server crash come again.", c.Name))
	}
	if c.Storage == jetstream.MemoryStorage {
		notes = append(notes, fmt.Sprintf("Stream %s is in memory: its messages are lost when the server restarts.", c.Name))
	}
	return notes
}
