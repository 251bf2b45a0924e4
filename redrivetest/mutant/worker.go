package mutant

import (
	"context"
	"math"
	"sync"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/decision"
	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/idempotency"
	"github.com/redrive-dev/redrive/retry"
)

type decide = func(*decision.Input) decision.Verdict

// countWhileOpen makes every failure that costs no attempt into one that does.
func countWhileOpen(right decide) decide {
	return func(in *decision.Input) decision.Verdict {
		v := right(in)
		if v.Action != decision.Retry || v.Counted {
			return v
		}
		return count(in, v)
	}
}

// probeCounted forgets that a failed probe says nothing about its message.
func probeCounted(right decide) decide {
	return func(in *decision.Input) decision.Verdict {
		v := right(in)
		if v.Row != decision.RowProbeFailed {
			return v
		}
		return count(in, v)
	}
}

// count charges the failure, and gives the message up if it was its last attempt.
func count(in *decision.Input, v decision.Verdict) decision.Verdict {
	v.Counted, v.Uncounted = true, ""
	if in.Failure != nil && in.History.Count+1 >= in.Policy.Retry.Attempts {
		v.Action, v.Category, v.Reason = decision.DeadLetter, in.Failure.Category, envelope.ReasonAttempts
	}
	return v
}

// budgetDeadLetters keeps a second account of the retry budget and gives up what
// it has no token for. Like the library it counts the runs that start as attempts.
func budgetDeadLetters(right decide) decide {
	var (
		mu     sync.Mutex
		budget *retry.Budget
	)
	return func(in *decision.Input) decision.Verdict {
		v := right(in)
		mu.Lock()
		defer mu.Unlock()
		if budget == nil {
			// Without a budget, which a wrong configuration leads to, nothing is limited.
			budget, _ = retry.NewBudget(in.Policy.Budget)
		}
		switch {
		case v.Action == decision.Run && len(in.History.Attempts) == 0:
			budget.Attempt(in.Now)
		case v.Action == decision.Retry && v.Budgeted && budget.Level(in.Now) < 1:
			v.Action, v.Category, v.Reason = decision.DeadLetter, in.Failure.Category, envelope.ReasonAttempts
		case v.Action == decision.Retry && v.Budgeted && !math.IsInf(budget.Level(in.Now), 1):
			budget.Reserve(in.Now)
		}
		return v
	}
}

// groupInKey names the group in a key that is shared by all groups.
func groupInKey(right func(header, group string, m *broker.Message, id broker.Incarnation) (string, bool)) func(header, group string, m *broker.Message, id broker.Incarnation) (string, bool) {
	if right == nil {
		right = func(header, _ string, m *broker.Message, id broker.Incarnation) (string, bool) {
			return idempotency.Key(header, m, id)
		}
	}
	return func(header, group string, m *broker.Message, id broker.Incarnation) (string, bool) {
		key, ok := right(header, group, m, id)
		return idempotency.Bound(group + ":" + key), ok
	}
}

// keepsFailed treats the end of a failed run like that of any other.
type keepsFailed struct{ idempotency.Store }

func (s keepsFailed) Release(ctx context.Context, c idempotency.Claim) error {
	return s.Complete(ctx, c)
}
