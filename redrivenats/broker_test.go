package redrivenats_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/failure"
	"github.com/redrive-dev/redrive/internal/natstest"
	"github.com/redrive-dev/redrive/redrivenats"
)

// bench is one broker on one server, for tests of what only NATS has.
type testbench struct {
	*rig
	b  *redrivenats.Broker
	js jetstream.JetStream
}

func newBench(t *testing.T, options natstest.Options) *testbench {
	t.Helper()
	t.Parallel() // Each has a server of its own.
	r := newRig(t, options)
	js, err := jetstream.New(r.raw)
	if err != nil {
		t.Fatal(err)
	}
	return &testbench{rig: r, b: r.open(t), js: js}
}

func (b *testbench) stream(config jetstream.StreamConfig) jetstream.Stream {
	b.t.Helper()
	s, err := b.js.CreateStream(b.t.Context(), config)
	if err != nil {
		b.t.Fatalf("create stream %s: %v", config.Name, err)
	}
	return s
}

func (b *testbench) subscribe(spec broker.Spec) broker.Subscription {
	b.t.Helper()
	s, err := b.b.Open(b.t.Context(), spec)
	if err != nil {
		b.t.Fatalf("open %s: %v", spec.Source, err)
	}
	return s
}

func (b *testbench) publish(queue string, bodies ...string) {
	b.t.Helper()
	for _, body := range bodies {
		if err := b.b.Publish(b.t.Context(), []broker.Outbound{{Queue: queue, ID: "pub:" + body, Body: []byte(body)}})[0]; err != nil {
			b.t.Fatalf("publish %q: %v", body, err)
		}
	}
}

func receive(t *testing.T, s broker.Subscription, n int) []broker.Delivery {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var got []broker.Delivery
	for len(got) < n {
		more, err := s.Receive(ctx, n-len(got))
		if err != nil {
			t.Fatalf("%d of %d deliveries came: %v", len(got), n, err)
		}
		got = append(got, more...)
	}
	return got
}

func nothing(t *testing.T, s broker.Subscription, within time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	for {
		got, err := s.Receive(ctx, 1)
		if len(got) > 0 {
			t.Fatalf("received %q, want nothing", got[0].Msg().Body)
		}
		if errors.Is(err, context.DeadlineExceeded) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func settle(t *testing.T, d broker.Delivery, o broker.Outcome) {
	t.Helper()
	if _, err := d.Settle(t.Context(), o); err != nil {
		t.Fatalf("settle %q with %T: %v", d.Msg().Body, o, err)
	}
}

func (b *testbench) letters(queue string) []broker.Letter {
	b.t.Helper()
	view, err := b.b.Letters(b.t.Context(), queue)
	if err != nil {
		b.t.Fatal(err)
	}
	letters, _, err := view.Scan(b.t.Context(), "", 1000)
	if err != nil {
		b.t.Fatal(err)
	}
	return letters
}

// TestNotesGoWithTheirMessages: a settled message leaves no note behind.
func TestNotesGoWithTheirMessages(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"", oldServers[0]} {
		t.Run("server "+version, func(t *testing.T) {
			b := newBench(t, natstest.Options{Version: version})
			s := b.subscribe(broker.Spec{Source: "orders"})
			b.publish("orders", "marked", "released")
			for _, d := range receive(t, s, 2) {
				if err := d.Mark(t.Context(), broker.Mark{StartedAlone: 1}); err != nil {
					t.Fatal(err)
				}
				settle(t, d, broker.Release{Mark: broker.Mark{Explained: 1}})
			}
			got := receive(t, s, 2)
			settle(t, got[0], broker.Done{})
			settle(t, got[1], broker.Retry{At: time.Now().Add(300 * time.Millisecond), Envelope: []byte("{}"), PublishID: "r"})
			settle(t, receive(t, s, 1)[0], broker.Done{})
			marks, err := b.js.KeyValue(t.Context(), "redrive_marks")
			if err != nil {
				t.Fatal(err)
			}
			if keys, err := marks.Keys(t.Context()); !errors.Is(err, jetstream.ErrNoKeysFound) {
				t.Errorf("notes %q are left: %v", keys, err)
			}
		})
	}
}

func TestEveryGroupGetsWhatIsPublished(t *testing.T) {
	b := newBench(t, natstest.Options{})
	main := b.subscribe(broker.Spec{Source: "orders"})
	b.publish("orders", "before")
	// Another process registers the group: this one's publisher has just looked.
	audit, err := b.rig.open(t).Open(t.Context(), broker.Spec{Source: "orders", Group: "audit"})
	if err != nil {
		t.Fatal(err)
	}
	b.publish("orders", "after", "after")
	b.publishRaw(t, "orders", broker.Message{Body: []byte("plain client")})
	for _, d := range receive(t, main, 3) {
		settle(t, d, broker.Done{})
	}
	got := receive(t, audit, 1)
	if body := string(got[0].Msg().Body); body != "after" {
		t.Errorf("the second group got %q, want %q", body, "after")
	}
	settle(t, got[0], broker.Done{})
	nothing(t, audit, 300*time.Millisecond)
	nothing(t, main, 300*time.Millisecond)
}

func TestGroupsHaveTheirOwnRetries(t *testing.T) {
	b := newBench(t, natstest.Options{})
	main := b.subscribe(broker.Spec{Source: "orders"})
	audit := b.subscribe(broker.Spec{Source: "orders", Group: "audit"})
	b.publish("orders", "m")
	settle(t, receive(t, main, 1)[0], broker.Retry{At: time.Now(), Envelope: []byte("{}"), PublishID: "r1"})
	settle(t, receive(t, audit, 1)[0], broker.Done{})
	settle(t, receive(t, main, 1)[0], broker.Done{})
	nothing(t, audit, 600*time.Millisecond)
	queues, err := b.b.Topology().Queues(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	groups := map[string][]string{}
	for _, q := range queues {
		groups[q.Name] = q.Groups
	}
	if got, want := groups["orders"], []string{"audit", "default"}; !slices.Equal(got, want) {
		t.Errorf("orders has groups %q, want %q", got, want)
	}
	for _, name := range []string{"orders.retry", "orders--audit.retry", "orders.dlq", "orders--audit.dlq.quarantine.schema"} {
		if _, ok := groups[name]; !ok {
			t.Errorf("queue %s is not listed", name)
		}
	}
}

// Two copies of one message that end with different verdicts are one letter, where
// the first verdict sent it. Another message is another letter, whatever its id.
func TestALetterOfTwoVerdictsIsOne(t *testing.T) {
	b := newBench(t, natstest.Options{})
	s := b.subscribe(broker.Spec{Source: "orders"})
	quarantine := broker.NamesFor("orders", "").Quarantine(failure.Crash)
	for _, body := range []string{"one", "one", "another"} {
		if err := b.b.Publish(t.Context(), []broker.Outbound{{Queue: "orders", Body: []byte(body)}})[0]; err != nil {
			t.Fatal(err)
		}
	}
	for i, d := range receive(t, s, 3) {
		queue := quarantine
		if i == 0 {
			queue = "orders.dlq"
		}
		settle(t, d, broker.Dead{Queue: queue, Envelope: []byte("{}"), PublishID: "dl:the same"})
	}
	dead, crashed := b.letters("orders.dlq"), b.letters(quarantine)
	if len(dead) != 1 || string(dead[0].Message.Body) != "one" || len(crashed) != 1 || string(crashed[0].Message.Body) != "another" {
		t.Errorf("letters %v, quarantined %v", dead, crashed)
	}
	if st, err := b.b.Stats(t.Context(), "orders"); err != nil || st.Depth() != 0 {
		t.Errorf("source: %+v, %v, want it empty", st, err)
	}
}

func TestDeletedLetterIsNotADuplicate(t *testing.T) {
	b := newBench(t, natstest.Options{})
	s := b.subscribe(broker.Spec{Source: "orders"})
	for round := range 4 {
		b.publish("orders", strconv.Itoa(round))
		settle(t, receive(t, s, 1)[0], broker.Dead{Queue: "orders.dlq", Envelope: []byte("{}"), PublishID: "dl:the same"})
		letters := b.letters("orders.dlq")
		if len(letters) != 1 || string(letters[0].Message.Body) != strconv.Itoa(round) {
			t.Fatalf("round %d: %d letters, want the one of this round", round, len(letters))
		}
		view, err := b.b.Letters(t.Context(), "orders.dlq")
		if err != nil {
			t.Fatal(err)
		}
		if err := view.Remove(t.Context(), letters[0].Position); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFullDeadLetterQueueKeepsTheOriginal(t *testing.T) {
	b := newBench(t, natstest.Options{})
	b.stream(jetstream.StreamConfig{Name: "redrive_dlq", Subjects: []string{"redrive.dlq.>"}, Discard: jetstream.DiscardNew, MaxMsgs: 1, DenyPurge: true, AllowDirect: true})
	s := b.subscribe(broker.Spec{Source: "orders", Lease: time.Second})
	b.publish("orders", "first", "second")
	got := receive(t, s, 2)
	settle(t, got[0], broker.Dead{Queue: "orders.dlq", Envelope: []byte("{}"), PublishID: "dl:0"})
	if _, err := got[1].Settle(t.Context(), broker.Dead{Queue: "orders.dlq", Envelope: []byte("{}"), PublishID: "dl:1"}); !errors.Is(err, broker.ErrFull) {
		t.Fatalf("move to a full queue: %v, want ErrFull", err)
	}
	if n := len(b.letters("orders.dlq")); n != 1 {
		t.Errorf("%d letters, want the first one alone", n)
	}
	if again := receive(t, s, 1)[0]; string(again.Msg().Body) != "second" || again.Deliveries().Earlier != 1 {
		t.Errorf("%q came with %d earlier deliveries, want the original again", again.Msg().Body, again.Deliveries().Earlier)
	}
}

func TestFullAccountIsNotALostMessage(t *testing.T) {
	b := newBench(t, natstest.Options{MaxStore: 256 << 10})
	s := b.subscribe(broker.Spec{Source: "orders"})
	var full error
	for i := 0; full == nil && i < 20; i++ {
		full = b.b.Publish(t.Context(), []broker.Outbound{{Queue: "orders", ID: fmt.Sprint("pub:", i), Body: make([]byte, 20<<10)}})[0]
	}
	if !errors.Is(full, broker.ErrFull) || errors.Is(full, broker.ErrUnknown) {
		t.Fatalf("publish to a full account: %v, want ErrFull", full)
	}
	d := receive(t, s, 1)[0]
	_, err := d.Settle(t.Context(), broker.Retry{At: time.Now(), Envelope: []byte("{}"), PublishID: "r"})
	if !errors.Is(err, broker.ErrFull) {
		t.Fatalf("retry in a full account: %v, want ErrFull", err)
	}
	settle(t, d, broker.Done{})
}

func TestDangerousSettingsAreRefusedTogether(t *testing.T) {
	b := newBench(t, natstest.Options{})
	b.stream(jetstream.StreamConfig{Name: "redrive_dlq", Subjects: []string{"redrive.dlq.>"}, MaxAge: time.Hour, MaxMsgs: 10})
	b.stream(jetstream.StreamConfig{Name: "redrive_retry", Subjects: []string{"redrive.sched.>", "redrive.retry.>"}, MaxBytes: 1 << 20})
	_, err := b.b.Open(t.Context(), broker.Spec{Source: "orders"})
	if err == nil {
		t.Fatal("streams that lose messages were accepted")
	}
	for _, want := range []string{"redrive_dlq: max_age", "redrive_dlq: a full stream", "redrive_retry: allow_msg_schedules", "redrive_retry: retention", "redrive_retry: a limit"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %q", err, want)
		}
	}
}

func TestUsersDurable(t *testing.T) {
	b := newBench(t, natstest.Options{})
	stream := b.stream(jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}})
	for name, edit := range map[string]func(*jetstream.ConsumerConfig){
		"max_deliver": func(c *jetstream.ConsumerConfig) { c.MaxDeliver = 5 },
		"backoff":     func(c *jetstream.ConsumerConfig) { c.BackOff, c.MaxDeliver = []time.Duration{time.Second}, 5 },
		"ack_policy":  func(c *jetstream.ConsumerConfig) { c.AckPolicy = jetstream.AckAllPolicy },
	} {
		config := jetstream.ConsumerConfig{Durable: "bad-" + name, AckPolicy: jetstream.AckExplicitPolicy}
		edit(&config)
		if _, err := stream.CreateConsumer(t.Context(), config); err != nil {
			t.Fatal(err)
		}
		_, err := b.b.Open(t.Context(), broker.Spec{Source: "ORDERS", Group: config.Durable})
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("a durable with %s: %v, want it refused by name", name, err)
		}
	}
	if _, err := stream.CreateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: "billing", AckPolicy: jetstream.AckExplicitPolicy, FilterSubject: "orders.eu"}); err != nil {
		t.Fatal(err)
	}
	s := b.subscribe(broker.Spec{Source: "ORDERS", Group: "billing"})
	b.publishRaw(t, "orders.us", broker.Message{Body: []byte("us")})
	b.publishRaw(t, "orders.eu", broker.Message{Body: []byte("eu")})
	d := receive(t, s, 1)[0]
	if string(d.Msg().Body) != "eu" {
		t.Errorf("got %q, want what the user's durable filters", d.Msg().Body)
	}
	if !slices.ContainsFunc(d.Msg().Control, func(h broker.Header) bool { return h.Name == "Nats-Subject" && string(h.Value) == "orders.eu" }) {
		t.Errorf("control headers %v do not tell the subject", d.Msg().Control)
	}
	settle(t, d, broker.Done{})
	info, err := stream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.Config.AllowMsgSchedules || len(info.Config.Metadata) > 0 && info.Config.Metadata["redrive-kind"] != "" {
		t.Errorf("the user's stream was altered: %+v", info.Config)
	}
}

func TestStatsOfAUsersStreamCountWhatIsNotHandled(t *testing.T) {
	b := newBench(t, natstest.Options{})
	b.stream(jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders"}})
	s := b.subscribe(broker.Spec{Source: "orders"})
	b.publish("orders", "1", "2", "3")
	got := receive(t, s, 2)
	settle(t, got[0], broker.Done{})
	stats, err := b.b.Stats(t.Context(), "orders")
	if err != nil {
		t.Fatal(err)
	}
	if stats.Ready != 1 || stats.InFlight != 1 || !stats.Exact {
		t.Errorf("stats %+v, want one ready and one in flight", stats)
	}
	if !stats.Oldest.Equal(got[1].Msg().Time) {
		t.Errorf("oldest %v, want that of the second message, %v", stats.Oldest, got[1].Msg().Time)
	}
}

func TestHostileHeadersOfAUsersStream(t *testing.T) {
	b := newBench(t, natstest.Options{})
	b.stream(jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders"}, AllowRollup: true, AllowMsgTTL: true})
	s := b.subscribe(broker.Spec{Source: "orders"})
	other := b.subscribe(broker.Spec{Source: "other"})
	b.publish("other", "waits")
	settle(t, receive(t, other, 1)[0], broker.Retry{At: time.Now().Add(time.Hour), Envelope: []byte("{}"), PublishID: "waits"})
	hostile := []broker.Header{
		{Name: "Nats-Rollup", Value: []byte("all")},
		{Name: "Nats-TTL", Value: []byte("1h")},
		{Name: "Nats-Expected-Stream", Value: []byte("ORDERS")},
		{Name: "Nats-Expected-Last-Sequence", Value: []byte("0")},
		{Name: "Nats-Expected-Last-Subject-Sequence", Value: []byte("0")},
		{Name: "Nats-Msg-Id", Value: []byte("theirs")},
	}
	b.publishRaw(t, "orders", broker.Message{Body: []byte("m"), Control: hostile})
	d := receive(t, s, 1)[0]
	for _, h := range hostile {
		if !slices.ContainsFunc(d.Msg().Control, func(g broker.Header) bool { return g.Name == h.Name && string(g.Value) == string(h.Value) }) {
			t.Errorf("%s is not among the control headers", h.Name)
		}
	}
	if want := d.Msg().Time.Add(time.Hour); !d.Msg().ExpiresAt.Equal(want) {
		t.Errorf("expires at %v, want %v", d.Msg().ExpiresAt, want)
	}
	settle(t, d, broker.Retry{At: time.Now(), Envelope: []byte("{}"), PublishID: "r"})
	d = receive(t, s, 1)[0]
	if len(d.Msg().Control) > 0 {
		t.Errorf("the retry carries %v", d.Msg().Control)
	}
	settle(t, d, broker.Dead{Queue: "orders.dlq", Envelope: []byte("{}"), PublishID: "dl:m"})
	stats, err := b.b.Stats(t.Context(), "other.retry")
	if err != nil {
		t.Fatal(err)
	}
	if stats.Delayed != 1 {
		t.Errorf("%d retries wait, want the one of the other queue: a copied rollup purged it", stats.Delayed)
	}
	letter := b.letters("orders.dlq")[0].Message
	if len(letter.Control) > 0 || letter.ExpiresAt.IsZero() {
		t.Errorf("letter with control %v, expires at %v: want none, and the time to live kept", letter.Control, letter.ExpiresAt)
	}
}

// TestMessagesThatLookLikeAnswersAreDelivered sends what client libraries take
// for an answer of the server, or cannot read.
func TestMessagesThatLookLikeAnswersAreDelivered(t *testing.T) {
	b := newBench(t, natstest.Options{})
	s := b.subscribe(broker.Spec{Source: "orders"})
	for _, block := range []string{
		"NATS/1.0\r\nStatus: 404\r\nDescription: No Messages\r\n\r\n",
		"NATS/1.0\r\nStatus: 100\r\n\r\n",
		"NATS/1.0\r\nx-kept: yes\r\nthis line is no header\r\n\r\n",
	} {
		b.publishBlock("orders", block, "")
	}
	for _, d := range receive(t, s, 3) {
		if len(d.Msg().Headers) == 0 {
			t.Errorf("a message lost its headers")
		}
		settle(t, d, broker.Retry{At: time.Now(), Envelope: []byte("{}"), PublishID: d.Identity().String()})
	}
	for _, d := range receive(t, s, 3) {
		if v, ok := d.Msg().Header("x-kept"); ok {
			if _, raw := d.Msg().Header(""); string(v) != "yes" || !raw {
				t.Errorf("headers %v, want the readable and the unreadable line", d.Msg().Headers)
			}
		}
		settle(t, d, broker.Dead{Queue: "orders.dlq", Envelope: []byte("{}"), PublishID: "dl:" + d.Identity().String()})
	}
	if n := len(b.letters("orders.dlq")); n != 3 {
		t.Errorf("%d letters, want 3", n)
	}
}

// publishBlock speaks the protocol itself, since no client sends such headers.
func (b *testbench) publishBlock(subject, block, body string) {
	b.t.Helper()
	var dialer net.Dialer
	conn, err := dialer.DialContext(b.t.Context(), "tcp", strings.TrimPrefix(b.server.URL, "nats://"))
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, err = fmt.Fprintf(conn, "CONNECT {\"verbose\":false,\"headers\":true,\"auth_token\":%q}\r\nHPUB %s %d %d\r\n%s%s\r\nPING\r\n", b.server.Token, subject, len(block), len(block)+len(body), block, body)
	if err != nil {
		b.t.Fatal(err)
	}
	var seen []byte
	buffer := make([]byte, 4096)
	for !strings.Contains(string(seen), "PONG") {
		n, err := conn.Read(buffer)
		if err != nil {
			b.t.Fatalf("after %q: %v", seen, err)
		}
		seen = append(seen, buffer[:n]...)
	}
	if strings.Contains(string(seen), "-ERR") {
		b.t.Fatalf("the server refused the headers: %s", seen)
	}
}

func TestExtendBeyondTheLease(t *testing.T) {
	b := newBench(t, natstest.Options{})
	s := b.subscribe(broker.Spec{Source: "orders", Lease: 300 * time.Millisecond})
	other := b.subscribe(broker.Spec{Source: "orders", Lease: 300 * time.Millisecond})
	b.publish("orders", "m")
	d := receive(t, s, 1)[0]
	if err := d.Extend(t.Context(), time.Hour); err != nil {
		t.Fatal(err)
	}
	nothing(t, other, 900*time.Millisecond)
	settle(t, d, broker.Done{})
}

// TestUnclaimedMessageGoesBackExplained lets a message come while nobody
// receives: another worker gets it, and nobody takes the delivery for a crash.
func TestUnclaimedMessageGoesBackExplained(t *testing.T) {
	b := newBench(t, natstest.Options{})
	s := b.subscribe(broker.Spec{Source: "orders", Lease: 30 * time.Second})
	nothing(t, s, 100*time.Millisecond) // It leaves a request open.
	b.publish("orders", "m")
	other := b.subscribe(broker.Spec{Source: "orders", Lease: 30 * time.Second})
	d := receive(t, other, 1)[0]
	if d.Deliveries().Earlier != 1 || d.Deliveries().Mark.Explained != 1 {
		t.Errorf("deliveries %+v, want one earlier and explained", d.Deliveries())
	}
	settle(t, d, broker.Done{})
}

func TestReplayEntryReachesOneGroup(t *testing.T) {
	b := newBench(t, natstest.Options{})
	main := b.subscribe(broker.Spec{Source: "orders"})
	audit := b.subscribe(broker.Spec{Source: "orders", Group: "audit"})
	b.publish(broker.NamesFor("orders", "audit").Replay, "again", "again")
	d := receive(t, audit, 1)[0]
	settle(t, d, broker.Done{})
	nothing(t, audit, 300*time.Millisecond)
	nothing(t, main, 100*time.Millisecond)
}

func TestPublishToAStreamOfSeveralSubjects(t *testing.T) {
	b := newBench(t, natstest.Options{})
	b.stream(jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}})
	errs := b.b.Publish(t.Context(), []broker.Outbound{{Queue: "ORDERS", Body: []byte("x")}, {Queue: "orders.eu", Body: []byte("y")}})
	if !errors.Is(errs[0], broker.ErrUnroutable) || errs[1] != nil {
		t.Errorf("publish by stream name: %v, by subject: %v; want the first refused", errs[0], errs[1])
	}
}

func TestLongQueueNamesAreListed(t *testing.T) {
	b := newBench(t, natstest.Options{})
	long := strings.Repeat("long.name.", 20) + "end"
	s := b.subscribe(broker.Spec{Source: long})
	b.publish(long, "m")
	names := broker.NamesFor(long, "")
	settle(t, receive(t, s, 1)[0], broker.Dead{Queue: names.DeadLetter + "x.dlq", Envelope: []byte("{}"), PublishID: "dl"})
	queues, err := b.b.Topology().Queues(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{long, names.Retry, names.DeadLetter + "x.dlq"} {
		if !slices.ContainsFunc(queues, func(q broker.Queue) bool { return q.Name == want }) {
			t.Errorf("%s is not listed", want)
		}
	}
}

func TestNeverMoreInFlightThanAskedFor(t *testing.T) {
	b := newBench(t, natstest.Options{})
	s := b.subscribe(broker.Spec{Source: "orders", MaxInFlight: 4})
	b.publish("orders", "1", "2", "3", "4", "5", "6")
	got := receive(t, s, 4)
	nothing(t, s, 300*time.Millisecond)
	settle(t, got[0], broker.Done{})
	got = append(got, receive(t, s, 1)...)
	nothing(t, s, 300*time.Millisecond)
	for _, d := range got[1:] {
		settle(t, d, broker.Done{})
	}
	settle(t, receive(t, s, 1)[0], broker.Done{})
}
