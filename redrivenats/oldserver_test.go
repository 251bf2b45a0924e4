package redrivenats_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/brokertest"
	"github.com/redrive-dev/redrive/internal/natstest"
	"github.com/redrive-dev/redrive/internal/workertest"
)

// oldServers are the newest of the lines before message schedules.
var oldServers = []string{"v2.10.27", "v2.11.17"}

// TestConformanceOnOldServers runs the whole suite on servers whose retries wait
// by delayed negative acknowledgements.
func TestConformanceOnOldServers(t *testing.T) {
	t.Parallel()
	for _, version := range oldServers {
		t.Run(version, func(t *testing.T) {
			brokertest.RunCases(t, newRig(t, natstest.Options{Version: version}).harness(), mostCases())
		})
		t.Run(version+" workers", func(t *testing.T) {
			t.Parallel() // It has a server of its own.
			brokertest.RunCases(t, newRig(t, natstest.Options{Version: version}).harness(), workertest.Cases())
		})
	}
}

// TestOldServerSaysWhatItCannot: the limits are in Caps, and no stream was asked
// for what the server does not have.
func TestOldServerSaysWhatItCannot(t *testing.T) {
	t.Parallel()
	for _, version := range oldServers {
		t.Run(version, func(t *testing.T) {
			b := newBench(t, natstest.Options{Version: version})
			b.subscribe(broker.Spec{Source: "orders"})
			caps, err := b.b.Caps(t.Context(), "orders")
			if err != nil {
				t.Fatal(err)
			}
			notes := strings.Join(caps.Notes, "\n")
			for _, want := range []string{"message schedules came with 2.12", "100000 slots", "come late, and never early", "redrive_marks"} {
				if !strings.Contains(notes, want) {
					t.Errorf("notes do not say %q:\n%s", want, notes)
				}
			}
			stream, err := b.js.Stream(t.Context(), "redrive_retry")
			if err != nil {
				t.Fatal(err)
			}
			if stream.CachedInfo().Config.AllowMsgSchedules {
				t.Error("the retry stream claims to have schedules")
			}
		})
	}
}

// TestOldServerMoreRetriesThanSlots: when more retries wait than the consumer has
// slots, the source flows on, and the retries come late, all of them, and never
// early.
func TestOldServerMoreRetriesThanSlots(t *testing.T) {
	b := newBench(t, natstest.Options{Version: oldServers[1]})
	const slots, failing = 8, 40
	narrow := b.rig.openWith(t, func(c *config) { c.MaxAckPending = slots })
	s, err := narrow.Open(t.Context(), broker.Spec{Source: "orders"})
	if err != nil {
		t.Fatal(err)
	}
	due := map[string]time.Time{}
	at := time.Now().Add(8 * time.Second) // Time enough to make all of them wait.
	for i := range failing {
		b.publish("orders", fmt.Sprint("failing ", i))
		d := receive(t, s, 1)[0]
		due[string(d.Msg().Body)] = at
		settle(t, d, broker.Retry{At: at, Envelope: []byte("{}"), PublishID: d.Identity().String()})
	}
	b.publish("orders", "healthy")
	for len(due) > 0 {
		d := receive(t, s, 1)[0]
		body := string(d.Msg().Body)
		at, waiting := due[body]
		switch {
		case body == "healthy":
			if len(due) != failing {
				t.Errorf("the healthy message came after %d retries: it waited for them", failing-len(due))
			}
		case !waiting:
			t.Errorf("%q came twice", body)
		case time.Now().Before(at):
			t.Errorf("%q came early", body)
		}
		delete(due, body)
		settle(t, d, broker.Done{})
	}
}

// TestRetriesWaitOverAnUpgrade: what waits by acknowledgements when the server is
// upgraded comes at its time, and turning schedules on afterwards harms nothing.
func TestRetriesWaitOverAnUpgrade(t *testing.T) {
	b := newBench(t, natstest.Options{Version: oldServers[1]})
	s := b.subscribe(broker.Spec{Source: "orders"})
	at := map[string]time.Time{}
	for i := range 3 {
		b.publish("orders", strconv.Itoa(i))
		d := receive(t, s, 1)[0]
		at[string(d.Msg().Body)] = time.Now().Add(3 * time.Second)
		settle(t, d, broker.Retry{At: at[string(d.Msg().Body)], Envelope: []byte("{}"), PublishID: fmt.Sprint("r", i)})
	}
	nothing(t, s, 300*time.Millisecond) // They are given back.
	b.server.Upgrade("")
	fresh := b.rig.open(t)
	caps, err := fresh.Caps(t.Context(), "orders")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(strings.Join(caps.Notes, "\n"), "allow_msg_schedules off, which can be turned on") {
		t.Errorf("notes %q do not say what to do", caps.Notes)
	}
	js, err := jetstream.New(b.server.Connect())
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "redrive_retry")
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	config.AllowMsgSchedules = true
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	again, err := fresh.Open(t.Context(), broker.Spec{Source: "orders"})
	if err != nil {
		t.Fatal(err)
	}
	b.publishRaw(t, "orders", broker.Message{Body: []byte("new")})
	for range 4 {
		d := receive(t, again, 1)[0]
		body := string(d.Msg().Body)
		if body == "new" && d.Msg().Envelope == nil {
			at[body] = time.Now().Add(500 * time.Millisecond)
			settle(t, d, broker.Retry{At: at[body], Envelope: []byte("{}"), PublishID: "scheduled"})
			continue
		}
		if due, waiting := at[body]; !waiting || time.Now().Before(due) {
			t.Errorf("%q came early or twice", body)
		}
		if n := d.Deliveries().Earlier; n != 0 {
			t.Errorf("%q came with %d earlier deliveries, want none that a handler could have seen", body, n)
		}
		delete(at, body)
		settle(t, d, broker.Done{})
	}
	if len(at) > 0 {
		// The scheduled retry of the new message is the fifth delivery.
		settle(t, receive(t, again, 1)[0], broker.Done{})
	}
}
