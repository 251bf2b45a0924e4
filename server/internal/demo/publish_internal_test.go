package demo

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/redrive-dev/redrive/broker"
)

// fickle is a broker that does not confirm every publication the first time.
type fickle struct {
	broker.Broker
	tries map[string]int
	// ledger is looked at before anything is stored.
	dir  string
	test *testing.T
}

func (f *fickle) Publish(_ context.Context, messages []broker.Outbound) []error {
	published, _, err := readLedger(f.dir)
	require.NoError(f.test, err)
	errs := make([]error, len(messages))
	for i := range messages {
		id, _ := orderID(messages[i].Headers[1].Value, true)
		require.Contains(f.test, published, id, "written down before it is sent")
		if f.tries[messages[i].ID]++; f.tries[messages[i].ID] <= int(id%3) {
			errs[i] = broker.ErrUnknown
		}
	}
	return errs
}

func TestPublisherRepeatsUnderTheSameID(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		l, err := openLedger(dir)
		require.NoError(t, err)
		f := &fickle{tries: map[string]int{}, dir: dir, test: t}
		p := &publisher{broker: f, ledger: l, source: Source, plan: Plan{Block: 30}, run: "r", total: 30, rate: 1000}
		require.NoError(t, p.publish(t.Context()))
		require.NoError(t, l.close())
		require.EqualValues(t, 30, p.done.Load())
		require.Len(t, f.tries, 30)
		_, confirmed, err := readLedger(dir)
		require.NoError(t, err)
		require.Len(t, confirmed, 30)
	})
}

func TestPublisherStops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		l, err := openLedger(dir)
		require.NoError(t, err)
		stop := errors.New("stop")
		ctx, cancel := context.WithCancelCause(t.Context())
		p := &publisher{broker: &fickle{tries: map[string]int{}, dir: dir, test: t}, ledger: l, total: 1 << 20, rate: 10}
		done := make(chan error, 1)
		go func() { done <- p.publish(ctx) }()
		synctest.Wait()
		cancel(stop)
		require.ErrorIs(t, <-done, stop)
		require.NoError(t, l.close())
	})
}

func TestWorkersThatCannotStartEndTheRun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	events, err := openEventFile(dir)
	require.NoError(t, err)
	s := &supervisor{command: []string{"go", "no-such-command"}, config: workerConfig{Dir: dir}, events: events}
	err = s.run(t.Context())
	require.ErrorContains(t, err, "died 10 times without working")
	require.ErrorContains(t, err, "no-such-command", "it says why")
	require.NoError(t, events.close())
}
