package broker_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/redrive-dev/redrive/broker"
)

func TestRefuse(t *testing.T) {
	short := broker.Problem{Rule: "retention", Queue: "orders.dlq", What: "letters are deleted after a day", Remedy: "set retention to -1"}
	classic := broker.Problem{Rule: "classic", Queue: "orders", What: "it is a classic queue", Remedy: "use a quorum queue"}
	for name, tt := range map[string]struct {
		problems []broker.Problem
		accept   []string
		want     []broker.Problem
	}{
		"nothing is wrong":     {},
		"everything is listed": {problems: []broker.Problem{short, classic}, want: []broker.Problem{short, classic}},
		"one is accepted":      {problems: []broker.Problem{short, classic}, accept: []string{"retention"}, want: []broker.Problem{classic}},
		"all are accepted":     {problems: []broker.Problem{short, classic}, accept: []string{"classic", "retention"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := broker.Refuse(tt.problems, tt.accept)
			var refused *broker.RefusedError
			if errors.As(err, &refused) != (tt.want != nil) || err != nil != (tt.want != nil) {
				t.Fatalf("got %v, want a refusal: %v", err, tt.want != nil)
			}
			if err == nil {
				return
			}
			if diff := cmp.Diff(tt.want, refused.Problems); diff != "" {
				t.Error(diff)
			}
		})
	}
	want := "messages could be lost: orders.dlq: letters are deleted after a day: set retention to -1 (rule retention)"
	if got := broker.Refuse([]broker.Problem{short}, nil).Error(); got != want {
		t.Errorf("it says %q, want %q", got, want)
	}
}
