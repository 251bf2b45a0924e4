package redrivetest_test

import (
	"testing"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/brokertest"
	"github.com/redrive-dev/redrive/redrivetest"
)

func TestMarksKeepTheContract(t *testing.T) {
	stores := map[*testing.T]*redrivetest.Marks{}
	brokertest.RunMarkStore(t, func(t *testing.T) broker.MarkStore {
		t.Helper()
		if stores[t] == nil {
			stores[t] = &redrivetest.Marks{}
		}
		return stores[t]
	})
}

// A mark belongs to the store: what a caller does to its own afterwards is not seen.
func TestMarksAreCopied(t *testing.T) {
	var m redrivetest.Marks
	mark := broker.Mark{Pending: &broker.Pending{Envelope: []byte("abc")}}
	if err := m.StoreMark(t.Context(), "c", mark); err != nil {
		t.Fatal(err)
	}
	mark.Pending.Envelope[0], mark.Pending.Queue = 'x', "other"
	got, err := m.LoadMark(t.Context(), "c")
	if err != nil || got.Pending.Queue != "" || string(got.Pending.Envelope) != "abc" || m.Len() != 1 {
		t.Errorf("%+v, %v, %d marks", got.Pending, err, m.Len())
	}
}
