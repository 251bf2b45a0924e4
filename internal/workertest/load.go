package workertest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/brokertest"
	"github.com/redrive-dev/redrive/failure"
	"github.com/redrive-dev/redrive/redrivetest"
)

func loadCases() []brokertest.Case {
	all := []brokertest.Case{
		{Name: "C16-worker-stops-under-load", Promise: "workers that are stopped one after the other under load handle each message once and lose none", Proves: []string{"clean-stop"}, Test: with(stopsUnderLoad)},
		{Name: "C17-worker-restarts-under-load", Promise: "while the broker is killed and started under load, every confirmed message is handled, dead-lettered or still there", Restarts: true, Proves: []string{"broker-killed", "confirmed-or-error"}, Test: with(restartsUnderLoad)},
	}
	for _, d := range []struct {
		name, text string
		do         func(brokertest.Link)
	}{
		{"request-lost", "while requests are lost", brokertest.Link.DropRequests},
		{"answer-lost", "while answers are lost", brokertest.Link.DropAnswers},
		{"cut", "while the connection is cut", brokertest.Link.Cut},
	} {
		all = append(all, brokertest.Case{
			Name: "link-worker-" + d.name, Promise: "a worker under load goes on by itself after a time " + d.text + ", and loses nothing", Proves: []string{"connection-loss"},
			Test: with(func(e *bench) { damagedUnderLoad(e, d.do) }),
		})
	}
	return all
}

// mixed fails one message in ten for good, one once, and handles the others after
// a moment.
func mixed(ctx context.Context, m *redrive.Message, _ int) error {
	pass(ctx, 2*time.Millisecond)
	switch body := string(m.Body); {
	case ctx.Err() != nil:
		return ctx.Err()
	case strings.HasSuffix(body, "7"):
		return redrive.Business(errors.New("refused"))
	case strings.HasSuffix(body, "3") && m.Attempt == 1:
		return redrive.Local(errAway)
	}
	return nil
}

func stopsUnderLoad(e *bench) {
	const n, stops = 200, 4
	bodies := numbered("message", n)
	e.publish(bodies...)
	ended := func() int { return e.books.handled() + len(e.books.of(redrive.EventDeadLettered)) }
	for i := range stops {
		w := e.start(e.h.Open(e), mixed)
		e.until(e.patience(), func() string {
			if got, want := ended(), (i+1)*n/(stops+1); got < want {
				return fmt.Sprintf("%d of %d messages ended", got, want)
			}
			return ""
		})
		if err := w.stop(); err != nil {
			e.Errorf("stop under load: %v", err)
		}
	}
	e.start(e.h.Open(e), mixed)
	e.drained(e.patience())
	e.apart()
	dead := map[string]int{}
	for _, l := range e.letters(e.names.DeadLetter) {
		dead[string(l.Message.Body)]++
	}
	for _, body := range bodies {
		runs, success := 1, 1
		switch {
		case strings.HasSuffix(body, "7"):
			success = 0
		case strings.HasSuffix(body, "3"):
			runs = 2
		}
		if got := len(e.books.runsOf(body)); got != runs || e.books.successes(body) != success || dead[body] != 1-success {
			e.Errorf("%q ran %d times, want %d; handled %d times, want %d; %d letters, want %d",
				body, got, runs, e.books.successes(body), success, dead[body], 1-success)
		}
	}
}

// ledger publishes without a pause and keeps the books.
type ledger struct {
	account *redrivetest.Account
	stop    func()
}

// publisher publishes one message every few milliseconds until stop.
func (e *bench) publisher() *ledger {
	l := &ledger{account: redrivetest.NewAccount(nil)}
	ctx, cancel := context.WithCancel(e.ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; pass(ctx, 3*time.Millisecond); i++ {
			// The account books what is refused or unknown.
			_ = l.account.Publish(e.ctx, e.b, e.outbound(fmt.Sprint("message ", i))) //nolint:contextcheck // a publication is not interrupted by the end of the publishing
		}
	}()
	l.stop = func() { cancel(); <-done }
	e.Cleanup(l.stop)
	return l
}

// booked lets the account know of what the plan handled.
func (l *ledger) booked(p plan) plan {
	return func(ctx context.Context, m *redrive.Message, n int) error {
		err := p(ctx, m, n)
		if err == nil {
			l.account.Handled(&broker.Message{Body: m.Body})
		}
		return err
	}
}

// balanced fails unless everything that was confirmed is somewhere.
func (l *ledger) balanced(e *bench) {
	e.Helper()
	if e.caps.LettersMode != broker.Observe {
		e.Logf("queues of this broker cannot be looked at: the account is not balanced")
		return
	}
	queues := []string{e.source, e.names.Retry, e.names.DeadLetter}
	for _, c := range failure.Categories() {
		queues = append(queues, e.names.Quarantine(c))
	}
	b, err := l.account.Balance(e.ctx, e.b, queues...)
	if err == nil {
		err = b.Err()
	}
	if err != nil {
		e.Errorf("the account does not balance: %v", err)
	}
	e.Logf("%d confirmed, %d unknown, %d handled, %d handled again, %d letters", b.Confirmed, b.Unknown, b.Handled, b.Repeats, b.In[broker.KindDeadLetter])
}

func restartsUnderLoad(e *bench) {
	restarts := 10
	if os.Getenv("REDRIVE_FULL") == "1" {
		restarts = 50
	}
	if e.h.Restart == nil {
		e.Logf("the harness cannot restart the broker: nothing is shown")
		return
	}
	l := e.publisher()
	e.start(e.h.Open(e), l.booked(mixed))
	for i := range restarts {
		before := e.books.handled()
		e.until(e.patience(), func() string {
			if got := e.books.handled() - before; got < 20 {
				return fmt.Sprintf("%d messages handled since the last restart", got)
			}
			return ""
		})
		// More than the worker can take, so that the source is not empty when it happens.
		burst := make([]broker.Outbound, 30)
		for j := range burst {
			burst[j] = e.outbound(fmt.Sprintf("burst %d of restart %d", j, i))
		}
		_ = l.account.Publish(e.ctx, e.b, burst...) // The account books what is refused or unknown.
		e.h.Restart(e)
	}
	l.stop()
	e.drained(e.patience())
	l.balanced(e)
}

func damagedUnderLoad(e *bench, damage func(brokertest.Link)) {
	if e.h.Link == nil {
		e.Logf("the harness has no Link: nothing is shown about lost connections")
		return
	}
	b, link := e.h.Link(e)
	e.Cleanup(link.Heal)
	l := e.publisher()
	e.start(b, l.booked(mixed), func(c *redrive.Config) { c.SettleTimeout = e.h.Lease })
	works := func() {
		before := e.books.handled()
		e.until(e.patience(), func() string {
			if got := e.books.handled() - before; got < 20 {
				return fmt.Sprintf("%d messages handled", got)
			}
			return ""
		})
	}
	works()
	damage(link)
	e.wait(e.h.Lease)
	link.Heal()
	healed := time.Now()
	works()
	e.Logf("20 messages handled %v after the connection was back", time.Since(healed).Round(time.Millisecond))
	l.stop()
	e.drained(e.patience())
	l.balanced(e)
}
