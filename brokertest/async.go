package brokertest

import (
	"context"
	"errors"
	"hash/fnv"
	"sync/atomic"
	"time"

	"github.com/redrive-dev/redrive/broker"
)

// errNeverDone is what a Settle is told whose done was not called.
var errNeverDone = errors.New("SettleAsync returned true and did not call done")

// unwaited is a delivery whose Settle is a SettleAsync: whatever the cases say of the
// one holds for the other.
type unwaited struct {
	broker.AsyncDelivery
	e *env
}

// alternate makes every second delivery that can settle without waiting do so. With
// which one a case begins follows from its name.
func (e *env) alternate(got []broker.Delivery) []broker.Delivery {
	for i, d := range got {
		if e.handed == 0 {
			h := fnv.New32a()
			_, _ = h.Write([]byte(e.Name())) // It never fails.
			e.handed = 1 + int(h.Sum32()%2)
		}
		e.handed++
		if a, ok := d.(broker.AsyncDelivery); ok && e.handed%2 == 0 {
			got[i] = &unwaited{a, e}
		}
	}
	return got
}

func (u *unwaited) Settle(ctx context.Context, o broker.Outcome) (broker.Receipt, error) {
	return settleUnwaited(ctx, u.e, u.AsyncDelivery, o)
}

// settleUnwaited calls SettleAsync and waits for done, or Settle where that is wanted.
func settleUnwaited(ctx context.Context, e *env, d broker.AsyncDelivery, o broker.Outcome) (broker.Receipt, error) {
	type result struct {
		receipt broker.Receipt
		err     error
	}
	var calls atomic.Int32
	first := make(chan result, 1)
	if !d.SettleAsync(ctx, o, func(r broker.Receipt, err error) {
		if calls.Add(1) == 1 {
			first <- result{r, err}
		} else {
			e.Errorf("done was called again, with %v", err)
		}
	}) {
		if calls.Load() > 0 {
			e.Errorf("SettleAsync of %T returned false and called done", o)
		}
		return d.Settle(ctx, o)
	}
	never := time.NewTimer(e.h.Timeout)
	defer never.Stop()
	select {
	case r := <-first:
		return r.receipt, r.err
	case <-never.C:
		return broker.Receipt{}, errNeverDone
	}
}

func settleAsync(e *env) {
	sub := e.open(e.b, unhurried)
	e.send(3)
	for i, d := range e.receive(sub, 3) {
		if u, ok := d.(*unwaited); ok {
			d = u.AsyncDelivery
		}
		a, ok := d.(broker.AsyncDelivery)
		if !ok {
			e.Logf("its deliveries have no SettleAsync: every settlement takes a goroutine")
			return
		}
		o := []broker.Outcome{
			broker.Done{},
			broker.Dead{Queue: e.names.DeadLetter, Envelope: e.envelope(d.Msg(), ""), PublishID: e.deadID(d, "")},
			broker.Retry{At: time.Now().Add(time.Hour), Envelope: e.envelope(d.Msg(), ""), PublishID: e.pubID("later")},
		}[i]
		ended, cancel := context.WithCancel(e.ctx)
		cancel()
		if _, err := settleUnwaited(ended, e, a, o); err == nil {
			e.Errorf("%T with a context that has ended: no error", o)
		}
		if _, err := settleUnwaited(e.ctx, e, a, o); err != nil {
			e.Errorf("%T: %v", o, err)
		}
		if _, err := settleUnwaited(e.ctx, e, a, o); !errors.Is(err, broker.ErrSettled) {
			e.Errorf("second settlement with %T: %v, want ErrSettled", o, err)
		}
	}
	e.none(sub, 2*e.h.Lease)
	e.letters(e.names.DeadLetter, 1)
}
