package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/redrive-dev/redrive"
)

// Errors of the order service.
var (
	errDown     = errors.New("payment service: 503 service unavailable")
	errBusy     = errors.New("orders table: row is locked by another order")
	errLedger   = errors.New("payment service: 500 internal server error")
	errQuantity = errors.New("quantity must be at least 1")
)

// service is the order service: it decodes an order, checks it, and charges the
// customer at a downstream that fails on schedule.
type service struct {
	plan    Plan
	outages outages
	effects *effectLog
	now     func() time.Time
	// kill ends this process at once.
	kill    func() error
	handled atomic.Int64
}

// handle handles one order.
func (s *service) handle(ctx context.Context, m *redrive.Message) error {
	id, ok := orderID(m.Header(headerOrder))
	if !ok {
		return redrive.Schema(fmt.Errorf("header %s is missing", headerOrder))
	}
	kind, failures := s.plan.Of(id)
	switch kind {
	case Killer:
		return s.kill()
	case Panicking:
		return discount(nil, m)
	case Poison:
		return redrive.Transient(errLedger)
	case Ordinary, Brief, Malformed, Refused:
	}
	var o order
	if err := json.Unmarshal(m.Body, &o); err != nil {
		return fmt.Errorf("decode order: %w", err)
	}
	if o.Quantity < 1 {
		return redrive.Business(errQuantity)
	}
	if err := s.charge(ctx, id); err != nil {
		return err
	}
	if m.Attempt <= failures {
		// A lock of our own says nothing about the downstream, so the breaker does not
		// count it.
		return redrive.Local(errBusy)
	}
	err := s.effects.add(Effect{ID: id, Attempt: uint32(m.Attempt), FailedBefore: !m.FirstFailure.IsZero()})
	if err != nil {
		return redrive.Local(err)
	}
	s.handled.Add(1)
	return nil
}

// charge calls the downstream: 2 to 6 ms, and an error while it is down.
func (s *service) charge(ctx context.Context, id uint64) error {
	latency := 2*time.Millisecond + time.Duration(s.plan.hash(id)%4000)*time.Microsecond
	timer := time.NewTimer(latency)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if _, down := s.outages.down(s.now()); down {
		return redrive.Transient(errDown)
	}
	return nil
}

// discount has the bug that the panicking order meets.
func discount(rates map[string]int, m *redrive.Message) error {
	rates[m.ID]++
	return nil
}

// killSelf ends this process as a kernel out of memory would: nothing is
// finished, flushed or released.
func killSelf() error {
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Kill()
	}
	return redrive.Local(fmt.Errorf("the process survived its end: %w", err))
}
