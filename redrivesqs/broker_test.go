package redrivesqs_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/internal/servertest"
	"github.com/redrive-dev/redrive/redrivesqs"
	"github.com/redrive-dev/redrive/redrivetest"
)

// testbench is a client of a server that tests share.
type testbench struct {
	t   *testing.T
	url string
	raw *sqs.Client
	b   *redrivesqs.Broker
}

func newBench(t *testing.T, edit ...func(*redrivesqs.Config)) *testbench {
	t.Helper()
	server := servertest.SQS(t, servertest.Options{Shared: true})
	tb := &testbench{t: t, url: server.URL, raw: client(server.URL, nil)}
	tb.b = tb.open(edit...)
	return tb
}

func (tb *testbench) open(edit ...func(*redrivesqs.Config)) *redrivesqs.Broker {
	tb.t.Helper()
	c := redrivesqs.Config{WaitTime: time.Second, RequestTimeout: 30 * time.Second}
	for _, f := range edit {
		f(&c)
	}
	b, err := redrivesqs.New(client(tb.url, nil), c)
	if err != nil {
		tb.t.Fatal(err)
	}
	tb.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.t.Context()), 30*time.Second)
		defer cancel()
		if err := b.Close(ctx); err != nil {
			tb.t.Errorf("close: %v", err)
		}
	})
	return b
}

var names sync.Map

// name is unique to this process and server.
func (tb *testbench) name(end string) string {
	n, _ := names.LoadOrStore("n", new(counter))
	c, _ := n.(*counter)
	return fmt.Sprintf("t%d-%d%s", time.Now().UnixNano(), c.next(), end)
}

type counter struct {
	mu sync.Mutex
	n  int
}

func (c *counter) next() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	return c.n
}

func (tb *testbench) subscribe(b *redrivesqs.Broker, source string, lease time.Duration) broker.Subscription {
	tb.t.Helper()
	s, err := b.Open(tb.t.Context(), broker.Spec{Source: source, Lease: lease})
	if err != nil {
		tb.t.Fatal(err)
	}
	return s
}

func (tb *testbench) publish(queue string, bodies ...string) {
	tb.t.Helper()
	var out []broker.Outbound
	for _, body := range bodies {
		key, _, _ := strings.Cut(body, " ")
		out = append(out, broker.Outbound{Queue: queue, ID: "pub:" + queue + body, Key: []byte(key), Body: []byte(body)})
	}
	for _, err := range tb.b.Publish(tb.t.Context(), out) {
		if err != nil {
			tb.t.Fatal(err)
		}
	}
}

func (tb *testbench) receive(s broker.Subscription) broker.Delivery {
	tb.t.Helper()
	ctx, cancel := context.WithTimeout(tb.t.Context(), time.Minute)
	defer cancel()
	for {
		got, err := s.Receive(ctx, 1)
		if err != nil {
			tb.t.Fatalf("receive: %v", err)
		}
		if len(got) > 0 {
			return got[0]
		}
	}
}

func (tb *testbench) settle(d broker.Delivery, o broker.Outcome) broker.Receipt {
	tb.t.Helper()
	r, err := d.Settle(tb.t.Context(), o)
	if err != nil {
		tb.t.Fatalf("settle with %T: %v", o, err)
	}
	return r
}

func (tb *testbench) queueURL(native string) *string {
	tb.t.Helper()
	out, err := tb.raw.GetQueueUrl(tb.t.Context(), &sqs.GetQueueUrlInput{QueueName: aws.String(native)})
	if err != nil {
		tb.t.Fatal(err)
	}
	return out.QueueUrl
}

func (tb *testbench) drain(queue string) []broker.Letter {
	tb.t.Helper()
	l, err := tb.b.Letters(tb.t.Context(), queue)
	if err != nil {
		tb.t.Fatal(err)
	}
	var all []broker.Letter
	err = l.Drain(tb.t.Context(), 100, func(_ context.Context, got []broker.Letter) error {
		all = append(all, got...)
		return nil
	})
	if err != nil {
		tb.t.Fatal(err)
	}
	return all
}

func withMarks(c *redrivesqs.Config) { c.Marks = &redrivetest.Marks{} }

// TestRetriesAreExact is S1, for delays in seconds and in parts of one: never early,
// and no later than a loaded machine makes them.
func TestRetriesAreExact(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"", ".fifo"} {
		for _, delay := range []time.Duration{150 * time.Millisecond, 1300 * time.Millisecond, 2700 * time.Millisecond} {
			t.Run(end+delay.String(), func(t *testing.T) {
				t.Parallel()
				tb := newBench(t, withMarks)
				source := tb.name(end)
				s := tb.subscribe(tb.b, source, 20*time.Second)
				tb.publish(source, "m")
				at := time.Now().Add(delay)
				tb.settle(tb.receive(s), broker.Retry{At: at, Envelope: []byte(`{"v":1}`), PublishID: "rt:" + source})
				d := tb.receive(s)
				late := time.Since(at)
				if late < 0 {
					t.Errorf("delivered %v early", -late)
				}
				t.Logf("asked for %v, came %v late", delay, late.Round(time.Millisecond))
				if string(d.Msg().Envelope) != `{"v":1}` {
					t.Errorf("envelope %q", d.Msg().Envelope)
				}
				tb.settle(d, broker.Done{})
			})
		}
	}
}

// TestLongDelaysGoOn: a copy that comes long before it is due is sent on by another
// copy, and nobody sees it.
func TestLongDelaysGoOn(t *testing.T) {
	t.Parallel()
	tb := newBench(t)
	source := tb.name("")
	s := tb.subscribe(tb.b, source, 20*time.Second)
	tb.publish(source, "m")
	tb.settle(tb.receive(s), broker.Retry{At: time.Now().Add(5 * time.Hour), Envelope: []byte("{}"), PublishID: "rt:1"})
	waits := func() broker.Stats {
		t.Helper()
		st, err := tb.b.Stats(t.Context(), source+".retry")
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	if st := waits(); st.Delayed != 1 {
		t.Fatalf("%+v, want one that waits", st)
	}
	// What a first delay of 15 minutes brings, now.
	_, err := tb.raw.SendMessage(t.Context(), &sqs.SendMessageInput{
		QueueUrl: tb.queueURL(source), MessageBody: aws.String("early"),
		MessageAttributes: map[string]types.MessageAttributeValue{
			broker.HeaderDue: {DataType: aws.String("String"), StringValue: aws.String(strconv.FormatInt(time.Now().Add(time.Hour).UnixMilli(), 10))},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for waits().Delayed != 2 {
		brief, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		got, _ := s.Receive(brief, 1)
		cancel()
		if len(got) > 0 {
			t.Fatalf("%q was delivered an hour early", got[0].Msg().Body)
		}
		if ctx.Err() != nil {
			t.Fatalf("the early copy was not sent on: %+v", waits())
		}
	}
}

// TestGroupIsBlockedAndOthersFlow is S6: while a message of a group waits for its
// retry, nothing of its group comes, and other groups do.
func TestGroupIsBlockedAndOthersFlow(t *testing.T) {
	t.Parallel()
	tb := newBench(t, withMarks)
	source := tb.name(".fifo")
	s := tb.subscribe(tb.b, source, 20*time.Second)
	tb.publish(source, "a 1", "a 2", "a 3", "b 1", "b 2")
	var order []string
	retried := 0
	for len(order) < 5 {
		d := tb.receive(s)
		body := string(d.Msg().Body)
		if body == "a 1" && retried < 2 {
			retried++
			tb.settle(d, broker.Retry{At: time.Now().Add(1500 * time.Millisecond), Envelope: []byte("{}"), PublishID: fmt.Sprint("rt:", retried)})
			continue
		}
		order = append(order, body)
		tb.settle(d, broker.Done{})
	}
	perGroup := map[string]string{}
	for _, body := range order {
		key, n, _ := strings.Cut(body, " ")
		perGroup[key] += n
	}
	if perGroup["a"] != "123" || perGroup["b"] != "12" {
		t.Errorf("order %q", order)
	}
	if order[0] != "b 1" || order[1] != "b 2" {
		t.Errorf("order %q: group b waited for group a", order)
	}
}

// TestDeadLetterAgainWithinTheWindow is S7: a message that dies again after its replay,
// within the five minutes in which a FIFO queue drops repeats, is kept; a repeat of
// the first dead-lettering is dropped.
func TestDeadLetterAgainWithinTheWindow(t *testing.T) {
	t.Parallel()
	tb := newBench(t, withMarks)
	source := tb.name(".fifo")
	s := tb.subscribe(tb.b, source, 20*time.Second)
	tb.publish(source, "k first")
	d := tb.receive(s)
	tb.settle(d, broker.Dead{Queue: source + ".dlq", Envelope: []byte("{}"), PublishID: "dl:origin:default"})
	letters := tb.drain(source + ".dlq")
	if len(letters) != 1 || string(letters[0].Message.Key) != "k" {
		t.Fatalf("letters %+v, want one with its key", letters)
	}
	l := letters[0].Message
	if err := tb.b.Publish(t.Context(), []broker.Outbound{{Queue: source + ".replay", ID: "rp:1", Key: l.Key, Body: l.Body, Headers: l.Headers, Envelope: l.Envelope}})[0]; err != nil {
		t.Fatal(err)
	}
	tb.settle(tb.receive(s), broker.Dead{Queue: source + ".dlq", Envelope: []byte("{}"), PublishID: "dl:origin:default:rp:1"})
	if n := len(tb.drain(source + ".dlq")); n != 1 {
		t.Errorf("%d letters after the message died again, want one", n)
	}
}

// TestPlainProducersAttributes is S8 on the server: String, Number and Binary with and
// without a custom type come through a retry and a dead-lettering.
func TestPlainProducersAttributes(t *testing.T) {
	t.Parallel()
	tb := newBench(t)
	source := tb.name("")
	s := tb.subscribe(tb.b, source, 20*time.Second)
	producer := map[string]types.MessageAttributeValue{
		"text":   {DataType: aws.String("String"), StringValue: aws.String("ü")},
		"number": {DataType: aws.String("Number"), StringValue: aws.String("12.50")},
		"binary": {DataType: aws.String("Binary"), BinaryValue: []byte{0, 1, 255}},
		"custom": {DataType: aws.String("Number.usd"), StringValue: aws.String("7")},
	}
	for i := range 6 {
		producer[fmt.Sprint("more-", i)] = types.MessageAttributeValue{DataType: aws.String("String"), StringValue: aws.String("x")}
	}
	if _, err := tb.raw.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: tb.queueURL(source), MessageBody: aws.String("b"), MessageAttributes: producer}); err != nil {
		t.Fatal(err)
	}
	d := tb.receive(s)
	first := fmt.Sprint(d.Msg().Headers)
	tb.settle(d, broker.Retry{At: time.Now(), Envelope: []byte("{}"), PublishID: "rt:1"})
	d = tb.receive(s)
	if got := fmt.Sprint(d.Msg().Headers); got != first {
		t.Errorf("headers of the retry\n%s\nwant\n%s", got, first)
	}
	tb.settle(d, broker.Dead{Queue: source + ".dlq", Envelope: []byte("{}"), PublishID: "dl:1"})
	out, err := tb.raw.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{
		QueueUrl: tb.queueURL(source + "_2edlq"), MessageAttributeNames: []string{"All"}, VisibilityTimeout: 1, WaitTimeSeconds: 5,
	})
	if err != nil || len(out.Messages) != 1 {
		t.Fatalf("%+v, %v", out, err)
	}
	for name, want := range producer {
		got, ok := out.Messages[0].MessageAttributes[name]
		if ok && (aws.ToString(got.DataType) != *want.DataType || aws.ToString(got.StringValue) != aws.ToString(want.StringValue) || string(got.BinaryValue) != string(want.BinaryValue)) {
			t.Errorf("attribute %s of the letter is %+v", name, got)
		}
	}
	if n := len(out.Messages[0].MessageAttributes); n != 10 {
		t.Errorf("the letter has %d attributes, want the ten that SQS takes", n)
	}
}

// TestLooksAreNotPoison is S9: receives by others raise the count, and the message is
// handled all the same.
func TestLooksAreNotPoison(t *testing.T) {
	t.Parallel()
	tb := newBench(t, withMarks)
	source := tb.name("")
	if err := tb.b.Topology().Ensure(t.Context(), broker.Spec{Source: source}); err != nil {
		t.Fatal(err)
	}
	tb.publish(source, "looked at")
	url := tb.queueURL(source)
	for range 6 {
		out, err := tb.raw.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: url, WaitTimeSeconds: 5})
		if err != nil || len(out.Messages) != 1 {
			t.Fatalf("look: %v", err)
		}
		if _, err := tb.raw.ChangeMessageVisibility(t.Context(), &sqs.ChangeMessageVisibilityInput{QueueUrl: url, ReceiptHandle: out.Messages[0].ReceiptHandle}); err != nil {
			t.Fatal(err)
		}
	}
	handled := make(chan int, 1)
	w, err := redrive.NewWorker(tb.b, func(_ context.Context, m *redrive.Message) error {
		handled <- m.Attempt
		return nil
	}, redrive.Config{Source: source, Lease: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	select {
	case attempt := <-handled:
		if attempt != 1 {
			t.Errorf("handled as attempt %d: looks are no attempts", attempt)
		}
	case <-time.NewTimer(time.Minute).C:
		t.Error("not handled within a minute")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := len(tb.drain(source + ".dlq.quarantine.crash")); n > 0 {
		t.Errorf("%d letters in quarantine", n)
	}
}

// TestExpiredReceipts is S10: who settles after the lease learns it once, and the
// message comes to whoever is next.
func TestExpiredReceipts(t *testing.T) {
	t.Parallel()
	tb := newBench(t)
	source := tb.name("")
	s := tb.subscribe(tb.b, source, time.Second)
	tb.publish(source, "slow")
	late := tb.receive(s)
	next := tb.receive(s)
	if next.Deliveries().Earlier < 1 {
		t.Errorf("earlier deliveries %d", next.Deliveries().Earlier)
	}
	if _, err := late.Settle(t.Context(), broker.Release{}); !errors.Is(err, broker.ErrLeaseLost) {
		t.Errorf("release after the lease: %v, want ErrLeaseLost", err)
	}
	if _, err := late.Settle(t.Context(), broker.Done{}); err != nil && !errors.Is(err, broker.ErrLeaseLost) {
		t.Errorf("done after the lease: %v, want success or ErrLeaseLost", err)
	}
	_, _ = next.Settle(t.Context(), broker.Done{}) // It may be gone by the late one.
}

// TestRedrivePolicyIsReadSetAndWarnedOf is S13 on the server.
func TestRedrivePolicyIsReadSetAndWarnedOf(t *testing.T) {
	t.Parallel()
	var log logged
	tb := newBench(t, func(c *redrivesqs.Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	source := tb.name("")
	spec := broker.Spec{Source: source}
	if err := tb.b.Topology().Ensure(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if p, err := tb.b.RedrivePolicy(t.Context(), source); p != nil || err != nil {
		t.Errorf("a new queue has the redrive policy %+v, %v", p, err)
	}
	want := redrivesqs.RedrivePolicy{Target: "arn:aws:sqs:elasticmq:000000000000:" + source + "_2edlq", MaxReceiveCount: 5}
	if err := tb.b.SetRedrivePolicy(t.Context(), source, &want); err != nil {
		t.Fatal(err)
	}
	if p, err := tb.b.RedrivePolicy(t.Context(), source); err != nil || p == nil || *p != want {
		t.Errorf("redrive policy %+v, %v, want %+v", p, err, want)
	}
	for range 2 {
		if err := tb.b.Topology().Ensure(t.Context(), spec); err != nil {
			t.Errorf("a source with a redrive policy is refused: %v", err)
		}
	}
	if n := strings.Count(log.String(), "maxReceiveCount 5"); n != 1 {
		t.Errorf("warned %d times, want once: %s", n, log.String())
	}
	if err := tb.b.SetRedrivePolicy(t.Context(), source, &redrivesqs.RedrivePolicy{Target: want.Target, MaxReceiveCount: 1001}); err == nil {
		t.Error("a maxReceiveCount of 1001 was taken")
	}
}

type logged struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestAttemptsWithoutAStore: in a FIFO queue with no store for marks another process
// counts each receive as an attempt, and Caps say so.
func TestAttemptsWithoutAStore(t *testing.T) {
	t.Parallel()
	tb := newBench(t)
	source := tb.name(".fifo")
	caps, err := tb.b.Caps(t.Context(), source)
	if err != nil || caps.Marks || !caps.Ordered || !strings.Contains(strings.Join(caps.Notes, " "), "attempts are the receives") {
		t.Errorf("caps %+v, %v", caps, err)
	}
	s := tb.subscribe(tb.b, source, 20*time.Second)
	tb.publish(source, "m")
	tb.settle(tb.receive(s), broker.Retry{At: time.Now(), Envelope: []byte("mine"), PublishID: "rt:1"})
	d := tb.receive(s)
	if string(d.Msg().Envelope) != "mine" {
		t.Errorf("envelope %q in the process that retried", d.Msg().Envelope)
	}
	tb.settle(d, broker.Release{})
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	other := tb.open()
	d = tb.receive(tb.subscribe(other, source, 20*time.Second))
	e, err := envelope.Decode(d.Msg().Envelope)
	if err != nil || e.Count < 2 || !e.Belongs(source, broker.DefaultGroup, envelope.Digest(d.Msg().Body)) {
		t.Errorf("envelope %+v, %v in another process, want two attempts", e, err)
	}
	_, err = d.Settle(t.Context(), broker.Retry{At: time.Now().Add(24 * time.Hour), PublishID: "rt:2"})
	if !errors.Is(err, broker.ErrUnsupported) {
		t.Errorf("a retry in a day: %v, want ErrUnsupported", err)
	}
	tb.settle(d, broker.Done{})
}

// TestMoveAllBySQS lets the server move letters.
func TestMoveAllBySQS(t *testing.T) {
	t.Parallel()
	tb := newBench(t)
	source := tb.name("")
	s := tb.subscribe(tb.b, source, 20*time.Second)
	tb.publish(source, "m")
	tb.settle(tb.receive(s), broker.Dead{Queue: source + ".dlq", Envelope: []byte("{}"), PublishID: "dl:1"})
	policy := redrivesqs.RedrivePolicy{Target: "arn:aws:sqs:elasticmq:000000000000:" + source + "_2edlq", MaxReceiveCount: 100}
	if err := tb.b.SetRedrivePolicy(t.Context(), source, &policy); err != nil {
		t.Fatal(err)
	}
	if err := tb.b.MoveAll(t.Context(), source+".dlq", source); err != nil {
		t.Fatal(err)
	}
	d := tb.receive(s)
	if string(d.Msg().Body) != "m" {
		t.Errorf("received %q", d.Msg().Body)
	}
	tb.settle(d, broker.Done{})
}
