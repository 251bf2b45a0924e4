package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/server/internal/records"
)

const (
	// A batch is published in one call, which sends all of it before it waits for
	// the confirmations; one more is read meanwhile. That bounds memory, and what is
	// uncertain after a crash.
	batchRecords = 512
	batchBytes   = 4 << 20
	// publishTries and publishPause are for records that were not confirmed.
	publishTries = 5
	publishPause = 200 * time.Millisecond
	// publishPatience bounds one batch, beyond what adapters wait for one message.
	publishPatience = time.Minute
	// listed is how many refused or skipped records are told one by one.
	listed = 20
)

// publisher publishes the records of an input.
type publisher struct {
	*call
	*publication

	conn     broker.Broker
	in       *input
	started  time.Time
	progress *progress

	// reached is the last record up to which all are settled: confirmed, refused or
	// skipped. seen is the newest record of all.
	reached, seen               int
	published, refused, skipped int
	bytes                       int64
	problems                    []recordProblem
	complete                    bool
}

// recordProblem is a record that was not published.
type recordProblem struct {
	Record  int    `json:"record"`
	Offset  int64  `json:"byte"`
	Problem string `json:"problem"`
	Refused bool   `json:"refused"`
}

// item is a record on its way, or why there is none.
type item struct {
	records.Record
	invalid *records.InvalidError
}

// run publishes until the end of the input, a stop or an error that ends it, and
// returns that.
func (p *publisher) run(ctx context.Context) error {
	if p.reached = p.opt.from - 1; p.reached > 0 {
		p.note("going on from record %d", p.opt.from)
	}
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	batches, readErr := p.read(reading)
	for batch := range batches {
		if err := p.publishBatch(ctx, batch); err != nil {
			return err
		}
		last := batch[len(batch)-1]
		p.progress.update(p.published, p.seen, last.Offset+int64(len(last.Body)))
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := *readErr; !errors.Is(err, io.EOF) {
		return err
	}
	if p.seen < p.opt.from-1 {
		return usageError("", "%s has only %s, so there is nothing from %d on", p.in.name, count(p.seen, "record"), p.opt.from)
	}
	p.complete = true
	return p.in.unchanged()
}

// read reads in the background. A batch is as large as what came while the one
// before it was published. The error is why it ended, and is set before the
// channel is closed.
func (p *publisher) read(ctx context.Context) (<-chan []item, *error) {
	items, batches, result := make(chan item), make(chan []item), new(error)
	go func() {
		defer close(items)
		for {
			it, err := p.next()
			if err != nil {
				*result = err
				return
			}
			select {
			case items <- it:
			case <-ctx.Done():
				*result = context.Cause(ctx)
				return
			}
		}
	}()
	go func() {
		defer close(batches)
		var batch []item
		size, in := 0, items
		for in != nil || len(batch) > 0 {
			from, to := in, batches
			if len(batch) == 0 {
				to = nil
			}
			if len(batch) >= batchRecords || size >= batchBytes {
				from = nil
			}
			select {
			case it, ok := <-from:
				if !ok {
					in = nil
					break
				}
				batch, size = append(batch, it), size+len(it.Body)
			case to <- batch:
				batch, size = nil, 0
			case <-ctx.Done():
				return
			}
		}
	}()
	return batches, result
}

// next reads the next record, a malformed one only with --skip-invalid.
func (p *publisher) next() (item, error) {
	r, err := p.in.reader.Next()
	if err == nil {
		return item{Record: r}, nil
	}
	var invalid *records.InvalidError
	if !errors.As(err, &invalid) {
		return item{}, err
	}
	if p.opt.skipInvalid && !invalid.Last {
		return item{Record: records.Record{Number: invalid.Number, Offset: invalid.Offset}, invalid: invalid}, nil
	}
	hint := "correct it, or go on after it with --skip-invalid"
	if p.in.reader.Format() == records.Array {
		hint = "correct it; inside a JSON array nothing after a malformed record can be read"
	}
	return item{}, &Error{Err: err, Hint: hint}
}

// publishBatch publishes the records of a batch and settles them all, or returns
// an error that ends everything. A stop lets the batch come to its end, so that it
// is known which records are confirmed.
func (p *publisher) publishBatch(ctx context.Context, batch []item) error {
	var open []item
	for _, it := range batch {
		p.seen = it.Number
		switch {
		case it.Number < p.opt.from:
		case it.invalid != nil:
			p.skipped++
			p.problem(it, it.invalid.Err, false)
		default:
			open = append(open, it)
		}
	}
	for try := 1; len(open) > 0; try++ {
		failed, err := p.send(ctx, open)
		if len(failed) == 0 {
			break
		}
		// What comes before the first that failed is settled.
		p.reached = failed[0].Number - 1
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if try == publishTries || !retryable(err) {
			return p.sendError(failed[0], err)
		}
		pause := publishPause << (try - 1)
		p.note("record %d is not confirmed (%s); trying again in %s", failed[0].Number, printable(err.Error()), pause)
		if err := wait(ctx, pause); err != nil {
			return err
		}
		open = failed
	}
	p.reached = max(p.seen, p.reached)
	return nil
}

func (p *publisher) sendError(at item, err error) error {
	wrapped := fmt.Errorf("record %d (byte %d) of %s is not confirmed: %w", at.Number, at.Offset, p.in.name, err)
	if errors.Is(err, broker.ErrUnroutable) {
		return &Error{Err: wrapped, Hint: "create the queue by adding a subscription with this source to the configuration, or correct the name; redrive queue ls lists the queues"}
	}
	return wrapped
}

// retryable reports whether another try can help.
func retryable(err error) bool {
	return !errors.Is(err, broker.ErrUnroutable) && !errors.Is(err, broker.ErrFull) &&
		!errors.Is(err, broker.ErrClosed) && !errors.Is(err, broker.ErrUnsupported)
}

// send publishes records and returns those that are neither confirmed nor refused
// for good, with the first error. A stop does not cut it short: what was sent and
// not confirmed would be in doubt.
func (p *publisher) send(ctx context.Context, items []item) (failed []item, first error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishPatience)
	defer cancel()
	messages := make([]broker.Outbound, len(items))
	for i, it := range items {
		messages[i] = p.message(it)
	}
	for i, err := range p.conn.Publish(ctx, messages) {
		var tooLarge *broker.TooLargeError
		switch {
		case err == nil:
			p.published++
			p.bytes += int64(len(items[i].Body))
		case errors.As(err, &tooLarge):
			p.refused++
			p.problem(items[i], err, true)
		default:
			failed = append(failed, items[i])
			if first == nil {
				first = err
			}
		}
	}
	return failed, first
}

func (p *publisher) message(it item) broker.Outbound {
	headers := p.headers
	isType := func(h broker.Header) bool { return strings.EqualFold(h.Name, "Content-Type") }
	if p.in.reader.Format() != records.Raw && !slices.ContainsFunc(headers, isType) {
		headers = append(slices.Clip(headers), broker.Header{Name: "Content-Type", Value: []byte("application/json")})
	}
	m := broker.Outbound{Queue: p.queue, ID: p.in.publishID(it.Number), Body: it.Body, Headers: headers}
	if p.opt.key != "" {
		m.Key = []byte(p.opt.key)
	}
	if p.opt.ttl > 0 {
		m.ExpiresAt = p.Now().Add(p.opt.ttl)
	}
	return m
}

// problem tells about a record that was not published.
func (p *publisher) problem(it item, err error, refused bool) {
	word := "skipped"
	if refused {
		word = "refused"
	}
	switch n := len(p.problems); {
	case n < listed:
		p.progress.clear()
		_, _ = fmt.Fprintf(p.Stderr, "%s: record %d (byte %d) %s: %s\n", printable(p.in.name), it.Number, it.Offset, word, printable(err.Error()))
		p.problems = append(p.problems, recordProblem{Record: it.Number, Offset: it.Offset, Problem: err.Error(), Refused: refused})
	case p.refused+p.skipped == listed+1:
		_, _ = fmt.Fprintln(p.Stderr, "more records are not published; they are counted, and no longer listed")
	}
}

// wait waits, or returns why it was stopped.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
