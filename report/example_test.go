package report_test

import (
	"fmt"

	"github.com/redrive-dev/redrive/idempotency"
	"github.com/redrive-dev/redrive/report"
)

// Whoever replayed a letter finds it again by the id of the replay.
func ExampleDecodeOutcome() {
	raw, err := report.EncodeOutcome(report.Outcome{
		ReplayID: idempotency.ReplayPublishID("ltr-42", 1), Replays: 1,
		Verdict: report.Settled, Source: "orders", Group: "billing",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(string(raw))
	o, err := report.DecodeOutcome(raw)
	if err != nil {
		fmt.Println(err)
		return
	}
	letter, ordinal, ok := idempotency.ParseReplayPublishID(o.ReplayID)
	fmt.Println(letter, ordinal, ok, o.Verdict.Recovered())
	// Output:
	// {"v":1,"type":"outcome","replay_id":"rp:ltr-42:1","replays":1,"verdict":"settled","source":"orders","group":"billing"}
	// ltr-42 1 true true
}
