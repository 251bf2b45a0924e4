package redrivetest

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/redrive-dev/redrive/broker"
)

// Inject wraps any broker so that calls fail as the faults say. The first fault
// that hits a call decides; all of them count it. The subscriptions of the
// result have TryReceive if those of b have it.
func Inject(b broker.Broker, faults ...*Fault) broker.Broker {
	return &faulty{Broker: b, faults: faults}
}

type faulty struct {
	broker.Broker
	faults []*Fault
}

// strike returns the fault that hits a call, nil for none.
func (b *faulty) strike(o op, queue string) *Fault {
	var first *Fault
	for _, f := range b.faults {
		if f.hits(o, queue) && first == nil {
			first = f
		}
	}
	return first
}

// before does what a fault does ahead of the call, and returns the error that
// ends it. lost says that the call has to be made and its result withheld.
func (f *Fault) before(ctx context.Context) (lost bool, err error) {
	if f == nil {
		return false, nil
	}
	switch f.effect {
	case failBefore, loseLease:
		return false, f.err
	case applyThenLose:
		return true, nil
	case hang:
		select {
		case <-ctx.Done():
			return false, fmt.Errorf("injected hang: %w: %w", broker.ErrUnknown, ctx.Err())
		case <-f.link.healed():
			return false, errCut()
		}
	case slow:
		return false, await(ctx, nil, f.delay, true)
	}
	return false, nil
}

func errLost() error {
	return fmt.Errorf("injected loss of the confirmation: %w", broker.ErrUnknown)
}

func (b *faulty) Publish(ctx context.Context, messages []broker.Outbound) []error {
	errs := make([]error, len(messages))
	lost := make([]bool, len(messages))
	var pass []broker.Outbound
	var index []int
	for i, m := range messages {
		if lost[i], errs[i] = b.strike(opPublish, m.Queue).before(ctx); errs[i] == nil {
			pass, index = append(pass, m), append(index, i)
		}
	}
	if len(pass) == 0 {
		return errs
	}
	for k, err := range b.Broker.Publish(ctx, pass) {
		if i := index[k]; lost[i] && err == nil {
			errs[i] = errLost()
		} else {
			errs[i] = err
		}
	}
	return errs
}

func (b *faulty) Stats(ctx context.Context, queue string) (broker.Stats, error) {
	lost, err := b.strike(opStats, queue).before(ctx)
	if err != nil {
		return broker.Stats{}, err
	}
	st, err := b.Broker.Stats(ctx, queue)
	if lost && err == nil {
		return broker.Stats{}, errLost()
	}
	return st, err
}

func (b *faulty) Open(ctx context.Context, spec broker.Spec) (broker.Subscription, error) {
	sub, err := b.Broker.Open(ctx, spec)
	if err != nil {
		return nil, err
	}
	return &faultySub{Subscription: sub, broker: b, names: broker.NamesFor(spec.Source, spec.Group)}, nil
}

func (b *faulty) Letters(ctx context.Context, queue string) (broker.Letters, error) {
	l, err := b.Broker.Letters(ctx, queue)
	if err != nil {
		return nil, err
	}
	return &faultyLetters{Letters: l, broker: b, queue: queue}, nil
}

type faultySub struct {
	broker.Subscription
	broker *faulty
	names  broker.Names
}

func (s *faultySub) Receive(ctx context.Context, max int) ([]broker.Delivery, error) {
	return s.receive(ctx, func() ([]broker.Delivery, error) { return s.Subscription.Receive(ctx, max) })
}

// TryReceive is that of the wrapped subscription. A hang or delay cannot be
// shown without waiting and is an error that wraps broker.ErrUnknown.
func (s *faultySub) TryReceive(now time.Time, max int) ([]broker.Delivery, error) {
	try, ok := s.Subscription.(interface {
		TryReceive(now time.Time, max int) ([]broker.Delivery, error)
	})
	if !ok {
		return nil, fmt.Errorf("receive without waiting: %w", broker.ErrUnsupported)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return s.receive(ctx, func() ([]broker.Delivery, error) { return try.TryReceive(now, max) })
}

func (s *faultySub) receive(ctx context.Context, call func() ([]broker.Delivery, error)) ([]broker.Delivery, error) {
	lost, err := s.broker.strike(opReceive, s.names.Source).before(ctx)
	if err != nil {
		return nil, err
	}
	got, err := call()
	if err != nil {
		return nil, err
	}
	if lost {
		return nil, errLost()
	}
	for i, d := range got {
		got[i] = &faultyDelivery{Delivery: d, sub: s}
	}
	return got, nil
}

type faultyDelivery struct {
	broker.Delivery
	sub *faultySub

	mu      sync.Mutex
	lost    bool           // the lease, by a fault
	applied broker.Outcome // took effect, unknown to the caller
	receipt broker.Receipt
}

func (d *faultyDelivery) Extend(ctx context.Context, by time.Duration) error {
	return d.call(ctx, opExtend, func() error { return d.Delivery.Extend(ctx, by) })
}

func (d *faultyDelivery) Mark(ctx context.Context, m broker.Mark) error {
	return d.call(ctx, opMark, func() error { return d.Delivery.Mark(ctx, m) })
}

func (d *faultyDelivery) call(ctx context.Context, o op, f func() error) error {
	lost, err := d.before(ctx, o, d.sub.names.Source)
	if err == nil {
		err = f()
	}
	if lost && err == nil {
		err = errLost()
	}
	return err
}

// before strikes, and keeps a lost lease lost.
func (d *faultyDelivery) before(ctx context.Context, o op, queue string) (lost bool, err error) {
	d.mu.Lock()
	gone := d.lost
	d.mu.Unlock()
	if gone {
		return false, fmt.Errorf("injected: %w", broker.ErrLeaseLost)
	}
	f := d.sub.broker.strike(o, queue)
	if f != nil && f.effect == loseLease {
		d.mu.Lock()
		d.lost = true
		d.mu.Unlock()
	}
	return f.before(ctx)
}

func (d *faultyDelivery) Settle(ctx context.Context, outcome broker.Outcome) (broker.Receipt, error) {
	o, queue := d.about(outcome)
	lost, err := d.before(ctx, o, queue)
	if err != nil {
		return broker.Receipt{}, err
	}
	d.mu.Lock()
	applied, receipt := d.applied, d.receipt
	d.mu.Unlock()
	if applied != nil && !lost {
		if !reflect.DeepEqual(applied, outcome) {
			return broker.Receipt{}, fmt.Errorf("settled as %T: %w", applied, broker.ErrSettled)
		}
		d.mu.Lock()
		d.applied = nil
		d.mu.Unlock()
		return receipt, nil
	}
	if applied == nil {
		if receipt, err = d.Delivery.Settle(ctx, outcome); err != nil || !lost {
			return receipt, err
		}
		d.mu.Lock()
		d.applied, d.receipt = outcome, receipt
		d.mu.Unlock()
	}
	return broker.Receipt{}, errLost()
}

// about returns the operation of an outcome and the queue it is about.
func (d *faultyDelivery) about(outcome broker.Outcome) (op, string) {
	switch o := outcome.(type) {
	case broker.Release:
		return opRelease, d.sub.names.Source
	case broker.Retry:
		return opRetry, d.sub.names.Retry
	case broker.Dead:
		return opDead, o.Queue
	}
	return opDone, d.sub.names.Source
}

type faultyLetters struct {
	broker.Letters
	broker *faulty
	queue  string
}

func (l *faultyLetters) call(ctx context.Context, f func() error) error {
	lost, err := l.broker.strike(opLetters, l.queue).before(ctx)
	if err == nil {
		err = f()
	}
	if lost && err == nil {
		err = errLost()
	}
	return err
}

func (l *faultyLetters) Scan(ctx context.Context, from broker.Cursor, n int) (got []broker.Letter, next broker.Cursor, err error) {
	err = l.call(ctx, func() (err error) { got, next, err = l.Letters.Scan(ctx, from, n); return err })
	if err != nil {
		return nil, from, err
	}
	return got, next, nil
}

func (l *faultyLetters) Drain(ctx context.Context, batch int, sink func(context.Context, []broker.Letter) error) error {
	return l.call(ctx, func() error { return l.Letters.Drain(ctx, batch, sink) })
}

func (l *faultyLetters) Get(ctx context.Context, pos string) (got broker.Letter, err error) {
	err = l.call(ctx, func() (err error) { got, err = l.Letters.Get(ctx, pos); return err })
	if err != nil {
		return broker.Letter{}, err
	}
	return got, nil
}

func (l *faultyLetters) Remove(ctx context.Context, pos string) error {
	return l.call(ctx, func() error { return l.Letters.Remove(ctx, pos) })
}
