package redrivenats

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/redrive-dev/redrive/broker"
)

// A server before 2.12 has no message schedules. There a retry is a copy in the
// retry stream that carries its time in a header and is delivered at once: each
// worker gives it back, by a negative acknowledgement with a delay, until it is
// due. It waits in the retry stream and not in its source, so that neither the
// source's limits nor its consumer's slots have to do with it, and an upgrade of
// the server changes nothing for copies that wait.

// postponed makes the copy that waits without a schedule. It carries a
// Nats-Msg-Id: a repeat whose copy has been handled in the meantime is not needed.
func (d *delivery) postponed(o broker.Retry) (*nats.Msg, error) {
	if o.PublishID == "" {
		return nil, errors.New("retry: PublishID is empty")
	}
	b := d.lane.b
	m := d.copy(copyHeaders{envelope: o.Envelope, due: dueTime(o.At)})
	m.Subject = b.layout.retrySubject(d.s.names.Retry)
	m.Header[jetstream.MsgIDHeader] = []string{headerID("retry:" + retryToken(d.s.names.Retry) + ":" + o.PublishID)}
	m.Header[jetstream.ExpectedStreamHeader] = []string{b.layout.retryStream()}
	return m, nil
}

// early reports whether the delivery is one of a copy that is not due.
func (d *delivery) early() bool { return time.Now().Before(d.decoded.due) }

// postpone gives copies back until they are due. That no handler saw them is
// noted first, confirmed: else the deliveries would look like crashes. What
// cannot be noted stays until its lease ends and is then given back again.
func postpone(ctx context.Context, early []*delivery) error {
	errs := make([]error, len(early))
	var all sync.WaitGroup
	for i, d := range early {
		all.Go(func() { errs[i] = d.postpone(ctx) })
	}
	all.Wait()
	return errors.Join(errs...)
}

func (d *delivery) postpone(ctx context.Context) error {
	b := d.lane.b
	row := markRow{Mark: d.deliveries.Mark, Waited: d.count}
	if _, err := b.putMark(ctx, d.markKey(), row); err != nil {
		return err
	}
	wait := time.Until(d.decoded.due)
	if wait <= 0 {
		wait = time.Nanosecond
	}
	if err := d.tell(ctx, nakWithDelay(wait)); err != nil {
		return fmt.Errorf("give back until it is due: %w", err)
	}
	return nil
}

// delayNotes tells what waiting without schedules costs.
func (b *Broker) delayNotes() []string {
	if !b.naks.Load() {
		return nil
	}
	why := fmt.Sprintf("The server is %s, and message schedules came with 2.12", b.nc.ConnectedServerVersion())
	if b.level >= levelSchedules {
		why = fmt.Sprintf("Stream %s was made by a server before 2.12 and has allow_msg_schedules off, which can be turned on", b.layout.retryStream())
	}
	return []string{
		why + ": a retry waits as a copy that each worker gives back until it is due.",
		fmt.Sprintf("Each waiting retry holds one of the %d slots of its retry consumer: with more of them waiting, the others come late, and never early.", b.config.MaxAckPending),
		"A negative acknowledgement carries no data: that a copy has waited is noted in the bucket " + b.layout.markBucket() + ", one write for each retry.",
		"The depth of a retry queue is exact, and how many of its messages wait and how many are handled is not.",
	}
}
