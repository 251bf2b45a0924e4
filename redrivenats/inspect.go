package redrivenats

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/redrive-dev/redrive/broker"
)

// Inspection is what [Broker.Inspect] found out about a subscription.
type Inspection struct {
	// Missing are the streams and consumers that Open would create.
	Missing []string
	// Problems are settings of existing streams and consumers for which Open
	// refuses, because messages would be lost or stranded.
	Problems []error
	// Notes say what the version of the server, and the settings of a stream of the
	// user's, mean for messages, and which messages of a work queue its consumer has
	// passed and will not deliver.
	Notes []string
}

// Inspect looks at the streams and consumers of a subscription as Open does, and
// changes and creates nothing. Its error says that it could not look. It is safe
// for concurrent use.
func (b *Broker) Inspect(ctx context.Context, spec broker.Spec) (Inspection, error) {
	spec = spec.WithDefaults()
	var found Inspection
	if kind := broker.KindOf(spec.Source); kind != broker.KindSource || spec.Source == "" {
		found.Problems = append(found.Problems, fmt.Errorf("%q is the name of a %s queue, which is not consumed directly: %w", spec.Source, kind, broker.ErrUnsupported))
		return found, nil
	}
	if notes := b.delayNotes(); len(notes) > 0 {
		// The first says why; the others are for whoever chooses a broker.
		found.Notes = append(found.Notes, notes[0])
	}
	names := broker.NamesFor(spec.Source, spec.Group)
	err := errors.Join(
		b.inspectStream(ctx, b.layout.retryStream(), checkRetry, &found),
		b.inspectStream(ctx, b.layout.dlqStream(), checkDeadLetter, &found),
		b.inspectStream(ctx, b.layout.markStream(), func(jetstream.StreamConfig) []error { return nil }, &found),
		b.inspectSource(ctx, spec, &found),
		b.inspectConsumer(ctx, b.layout.retryStream(), retryToken(names.Retry), &found),
	)
	return found, err
}

func (b *Broker) inspectStream(ctx context.Context, name string, check func(jetstream.StreamConfig) []error, found *Inspection) error {
	info, err := b.streamInfo(ctx, name)
	if hasCode(err, codeStreamNotFound) {
		found.Missing = append(found.Missing, "stream "+name)
		return nil
	}
	if err != nil {
		return err
	}
	found.Problems = append(found.Problems, check(info.Config)...)
	return nil
}

func (b *Broker) inspectSource(ctx context.Context, spec broker.Spec, found *Inspection) error {
	src, err := b.source(ctx, spec.Source, spec.Group)
	if errors.Is(err, broker.ErrUnroutable) {
		own := b.sourceConfig(spec.Source, spec.Group).Name
		found.Missing = append(found.Missing, "stream "+own, "consumer "+b.layout.durable(spec.Source, spec.Group)+" of "+own)
		return nil
	}
	if err != nil {
		return err
	}
	found.Notes = append(found.Notes, src.notes...)
	if src.owned {
		if err := b.inspectStream(ctx, src.stream, checkSource, found); err != nil {
			return err
		}
	} else if legalName(spec.Group) {
		theirs, err := b.consumerInfo(ctx, src.stream, spec.Group)
		if err == nil {
			found.Problems = append(found.Problems, checkConsumer(theirs.Config)...)
			return nil
		}
		if !hasCode(err, codeConsumerNotFound) {
			return err
		}
	}
	return b.inspectConsumer(ctx, src.stream, b.layout.durable(spec.Source, spec.Group), found)
}

func (b *Broker) inspectConsumer(ctx context.Context, stream, name string, found *Inspection) error {
	info, err := b.consumerInfo(ctx, stream, name)
	if hasCode(err, codeConsumerNotFound) || hasCode(err, codeStreamNotFound) {
		found.Missing = append(found.Missing, "consumer "+name+" of "+stream)
		return nil
	}
	if err != nil {
		return err
	}
	found.Problems = append(found.Problems, checkConsumer(info.Config)...)
	return b.inspectFloor(ctx, stream, info, found)
}

// inspectFloor looks for messages of a work queue that its consumer has passed and
// never delivers. That they were acknowledged cannot be told from the consumer's
// state, so they are named and left alone.
func (b *Broker) inspectFloor(ctx context.Context, stream string, consumer *jetstream.ConsumerInfo, found *Inspection) error {
	info, err := b.streamInfo(ctx, stream)
	if err != nil {
		return err
	}
	passed := info.State.Msgs > 0 && info.State.FirstSeq <= consumer.Delivered.Stream
	if info.Config.Retention != jetstream.WorkQueuePolicy || !passed || len(consumer.Config.FilterSubjects) > 0 {
		return nil
	}
	const limit = 100
	left, err := b.leftBehind(ctx, stream, consumer, limit)
	if err != nil || len(left) == 0 {
		return err
	}
	// The removal follows the acknowledgement: what is there at a second look is
	// not on its way out.
	again, err := b.leftBehind(ctx, stream, consumer, limit)
	if err != nil {
		return err
	}
	left = slices.DeleteFunc(left, func(sequence uint64) bool { return !slices.Contains(again, sequence) })
	if len(left) > 0 {
		found.Notes = append(found.Notes, passedNote(stream, consumer.Name, left, len(left) == limit))
	}
	return nil
}

// passedNote names the first of the messages that a consumer has passed.
func passedNote(stream, consumer string, left []uint64, more bool) string {
	const named = 10
	var sequences []string
	for _, sequence := range left[:min(named, len(left))] {
		sequences = append(sequences, strconv.FormatUint(sequence, 10))
	}
	list, count := strings.Join(sequences, ", "), strconv.Itoa(len(left))
	if len(left) > named {
		list += ", …"
	}
	if more {
		count = "at least " + count
	}
	return fmt.Sprintf("stream %s keeps messages that consumer %s has passed and never delivers: %s, with the sequences %s; "+
		"the guide to NATS says how they come about and how to tell whether they were handled", stream, consumer, count, list)
}

// Storage is how much of its storage an account uses.
type Storage struct {
	// Used and Limit are bytes on disk. A Limit below zero is none: then the disk
	// of the servers is the bound.
	Used, Limit int64
}

// Storage asks how full the account is.
func (b *Broker) Storage(ctx context.Context) (Storage, error) {
	info, err := b.js.AccountInfo(ctx)
	if err != nil {
		return Storage{}, fmt.Errorf("redrivenats: account: %w", err)
	}
	s := Storage{Used: int64(info.Store), Limit: info.Limits.MaxStore}
	return s, nil
}

// Clock is what the server's clock differs by from that of this process.
type Clock struct {
	// Offset is how far the server is ahead, negative if it is behind.
	Offset time.Duration
	// Uncertainty is half of the shortest round trip: the true offset is within
	// Offset plus or minus it.
	Uncertainty time.Duration
}

// ErrNoStream says that there is no stream whose answers carry the server's time.
var ErrNoStream = errors.New("there is no stream yet")

// Clock compares clocks: some servers' answers carry their time. now is the clock
// of this process.
func (b *Broker) Clock(ctx context.Context, now func() time.Time) (Clock, error) {
	list := b.js.StreamNames(ctx)
	stream := ""
	for name := range list.Name() {
		stream = name
	}
	if err := list.Err(); err != nil && !errors.Is(err, jetstream.ErrEndOfData) {
		return Clock{}, fmt.Errorf("redrivenats: list streams: %w", err)
	}
	if stream == "" {
		return Clock{}, ErrNoStream
	}
	const rounds = 5
	best := Clock{Uncertainty: -1}
	for range rounds {
		sent := now()
		info, err := b.streamInfo(ctx, stream)
		if err != nil {
			return Clock{}, err
		}
		half := now().Sub(sent) / 2
		if info.TimeStamp.IsZero() {
			return Clock{}, ErrNoStream
		}
		if best.Uncertainty < 0 || half < best.Uncertainty {
			best = Clock{Offset: info.TimeStamp.Sub(sent.Add(half)), Uncertainty: half}
		}
	}
	return best, nil
}

// Server returns the version of the server that the connection is with, empty if
// there is none at the moment.
func (b *Broker) Server() string { return b.nc.ConnectedServerVersion() }
