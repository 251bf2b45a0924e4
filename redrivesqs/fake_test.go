package redrivesqs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/redrive-dev/redrive/broker"
)

// wire is an SQS that answers what a test says, and keeps what it was asked.
type wire struct {
	// answer returns the status and the body of the answer to an action.
	answer func(action string, request map[string]any) (int, any)
	// takes is how long each answer takes.
	takes time.Duration

	mu    sync.Mutex
	asked []call
}

type call struct {
	action  string
	request map[string]any
	raw     string
}

// RoundTrip implements http.RoundTripper.
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	c := call{action: strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "AmazonSQS."), raw: string(raw)}
	if err := json.Unmarshal(raw, &c.request); err != nil {
		return nil, err
	}
	w.mu.Lock()
	w.asked = append(w.asked, c)
	w.mu.Unlock()
	if w.takes > 0 {
		if err := pass(r.Context(), w.takes); err != nil {
			return nil, err
		}
	}
	status, body := w.answer(c.action, c.request)
	if status == 0 {
		return nil, errors.New("connection reset")
	}
	out, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	h := http.Header{"Content-Type": {"application/x-amz-json-1.0"}}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(bytes.NewReader(out)), Request: r}, nil
}

// calls returns the requests of an action.
func (w *wire) calls(action string) []call {
	w.mu.Lock()
	defer w.mu.Unlock()
	var found []call
	for _, c := range w.asked {
		if c.action == action {
			found = append(found, c)
		}
	}
	return found
}

func (w *wire) broker(t *testing.T, edit ...func(*Config)) *Broker {
	t.Helper()
	c := Config{WaitTime: time.Second}
	for _, f := range edit {
		f(&c)
	}
	b, err := New(sqs.New(sqs.Options{
		Region: "test", BaseEndpoint: aws.String("http://sqs.invalid"), HTTPClient: &http.Client{Transport: w},
		Credentials: credentials.NewStaticCredentialsProvider("a", "b", ""),
	}), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return b
}

type object = map[string]any

// entries calls f for each entry of a batch request and sorts what it returns into
// an answer: nothing for silence.
func entries(request object, f func(i int, entry object) (ok, failed object)) object {
	out := object{}
	list, _ := request["Entries"].([]any)
	var good, bad []object
	for i, e := range list {
		entry, _ := e.(object)
		ok, failed := f(i, entry)
		if ok != nil {
			ok["Id"] = entry["Id"]
			good = append(good, ok)
		}
		if failed != nil {
			failed["Id"] = entry["Id"]
			bad = append(bad, failed)
		}
	}
	if good != nil {
		out["Successful"] = good
	}
	if bad != nil {
		out["Failed"] = bad
	}
	return out
}

// simple answers everything with success.
func simple(action string, request object) (int, any) {
	switch action {
	case "GetQueueUrl":
		name, _ := request["QueueName"].(string)
		return 200, object{"QueueUrl": "http://sqs.invalid/1/" + name}
	case "SendMessageBatch":
		return 200, entries(request, func(i int, _ object) (object, object) { return object{"MessageId": fmt.Sprint("m", i)}, nil })
	case "DeleteMessageBatch", "ChangeMessageVisibilityBatch":
		return 200, entries(request, func(int, object) (object, object) { return object{}, nil })
	}
	return 200, object{}
}

func failure400(code string) (int, any) {
	return 400, object{"__type": "com.amazonaws.sqs#" + code, "message": "told by the test"}
}

// held makes a delivery that came from the queue "orders".
func held(b *Broker, q queue, id string) *delivery {
	s := &subscription{b: b, queue: q, cluster: "c", lines: b.linesOf(q), spec: broker.Spec{Source: "orders", Lease: time.Minute}.WithDefaults(), wake: make(chan struct{}, 1), inflight: map[string]*delivery{}, shelf: newShelf(q.fifo)}
	now := time.Now()
	return &delivery{s: s, id: id, position: id, receipt: "receipt of " + id, receivedAt: now, deadline: now.Add(time.Hour), count: 1, message: broker.Message{ID: id, Body: []byte(id)}}
}

// TestPartialFailuresLeaveOriginals is S5: an answer of 200 that names failed entries
// settles the others alone, and one that says nothing about an entry is no success.
func TestPartialFailuresLeaveOriginals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &wire{takes: 10 * time.Millisecond, answer: func(action string, request object) (int, any) {
			if action != "SendMessageBatch" {
				return simple(action, request)
			}
			return 200, entries(request, func(_ int, e object) (object, object) {
				switch e["MessageBody"] {
				case "refused":
					return nil, object{"Code": "InvalidMessageContents", "SenderFault": true}
				case "internal":
					return nil, object{"Code": "InternalError", "SenderFault": false}
				case "silent":
					return nil, nil
				}
				return object{"MessageId": "copy"}, nil
			})
		}}
		b := w.broker(t)
		q := queue{name: "orders", url: "http://sqs.invalid/1/orders"}
		results := map[string]error{}
		var mu sync.Mutex
		var all sync.WaitGroup
		for _, id := range []string{"first", "refused", "internal", "silent", "good 1", "good 2"} {
			all.Go(func() {
				_, err := held(b, q, id).Settle(t.Context(), broker.Dead{Queue: "orders.dlq", Envelope: []byte("{}"), PublishID: "dl:" + id})
				mu.Lock()
				defer mu.Unlock()
				results[id] = err
			})
		}
		all.Wait()
		for id, err := range results {
			good := id == "first" || strings.HasPrefix(id, "good")
			unknown := id == "internal" || id == "silent"
			if good != (err == nil) || unknown != errors.Is(err, broker.ErrUnknown) {
				t.Errorf("%s: %v", id, err)
			}
		}
		deleted := 0
		for _, c := range w.calls("DeleteMessageBatch") {
			list, _ := c.request["Entries"].([]any)
			deleted += len(list)
			for _, id := range []string{"refused", "internal", "silent"} {
				if strings.Contains(c.raw, "receipt of "+id) {
					t.Errorf("%s was deleted although its copy is not confirmed", id)
				}
			}
		}
		if deleted != 3 {
			t.Errorf("%d originals deleted, want 3", deleted)
		}
	})
}

// TestMoveIsRepeatedWithoutASecondCopy: when the deletion fails, the repeat of the
// settlement only deletes.
func TestMoveIsRepeatedWithoutASecondCopy(t *testing.T) {
	t.Parallel()
	away := true
	w := &wire{answer: func(action string, request object) (int, any) {
		if action == "DeleteMessageBatch" && away {
			return failure400("AccessDenied")
		}
		return simple(action, request)
	}}
	b := w.broker(t)
	d := held(b, queue{name: "orders", url: "u"}, "m")
	dead := broker.Dead{Queue: "orders.dlq", PublishID: "dl:m"}
	if _, err := d.Settle(t.Context(), dead); err == nil {
		t.Fatal("a refused deletion was confirmed")
	}
	away = false
	if _, err := d.Settle(t.Context(), dead); err != nil {
		t.Fatal(err)
	}
	if n := len(w.calls("SendMessageBatch")); n != 1 {
		t.Errorf("%d copies were sent, want one", n)
	}
}

// TestRepeatsWaitForTheFirstAnswer: a settlement whose caller had no time makes one
// copy and one deletion, however often it is repeated.
func TestRepeatsWaitForTheFirstAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &wire{takes: 50 * time.Millisecond, answer: simple}
		d := held(w.broker(t), queue{name: "orders", url: "u"}, "m")
		if _, err := d.s.b.queue(t.Context(), "orders_2edlq"); err != nil {
			t.Fatal(err)
		}
		tries := 0
		for {
			tries++
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			_, err := d.Settle(ctx, broker.Dead{Queue: "orders.dlq", PublishID: "dl:m"})
			cancel()
			if err == nil {
				break
			}
			if !errors.Is(err, broker.ErrUnknown) || tries > 500 {
				t.Fatalf("try %d: %v, want an unknown outcome", tries, err)
			}
		}
		if sent, removed := len(w.calls("SendMessageBatch")), len(w.calls("DeleteMessageBatch")); tries < 3 || sent != 1 || removed != 1 {
			t.Errorf("%d tries made %d copies and %d deletions, want one each", tries, sent, removed)
		}
	})
}

// TestRequestsAreShared: what is alone is sent at once; what comes while something is
// on its way shares requests of ten.
func TestRequestsAreShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n = 200
		w := &wire{takes: 20 * time.Millisecond, answer: simple}
		b := w.broker(t)
		q := queue{name: "orders", url: "u"}
		began := time.Now()
		if _, err := held(b, q, "alone").Settle(t.Context(), broker.Done{}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != w.takes {
			t.Errorf("a settlement alone took %v, want no more than its request: %v", took, w.takes)
		}
		var all sync.WaitGroup
		for i := range n {
			all.Go(func() {
				if _, err := held(b, q, strconv.Itoa(i)).Settle(t.Context(), broker.Done{}); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if got := len(w.calls("DeleteMessageBatch")) - 1; got > n/maxBatch*3/2 {
			t.Errorf("%d deletions took %d requests", n, got)
		}
		for _, c := range w.calls("DeleteMessageBatch") {
			if list, _ := c.request["Entries"].([]any); len(list) > maxBatch {
				t.Errorf("a batch of %d entries", len(list))
			}
		}
	})
}

// TestBatchesStayBelowTheirLimit: ten messages that are more than 1 MiB together go in
// several requests.
func TestBatchesStayBelowTheirLimit(t *testing.T) {
	t.Parallel()
	w := &wire{answer: simple}
	b := w.broker(t)
	var out []broker.Outbound
	for i := range 12 {
		out = append(out, broker.Outbound{Queue: "x.dlq", ID: fmt.Sprint("pub:", i), Body: bytes.Repeat([]byte("x"), 300<<10)})
	}
	for i, err := range b.Publish(t.Context(), out) {
		if err != nil {
			t.Errorf("message %d: %v", i, err)
		}
	}
	sent := 0
	for _, c := range w.calls("SendMessageBatch") {
		list, _ := c.request["Entries"].([]any)
		sent += len(list)
		if len(list) > 3 {
			t.Errorf("a request with %d messages of 300 KiB", len(list))
		}
	}
	if sent != len(out) {
		t.Errorf("%d of %d messages sent", sent, len(out))
	}
}

// TestOutcomesOfFailedRequests tells apart what is certainly not stored from what may
// be.
func TestOutcomesOfFailedRequests(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		answer func() (int, any)
		want   func(error) bool
	}{
		"refused":   {func() (int, any) { return failure400("InvalidMessageContents") }, func(err error) bool { return !errors.Is(err, broker.ErrUnknown) }},
		"no queue":  {func() (int, any) { return failure400("QueueDoesNotExist") }, func(err error) bool { return errors.Is(err, broker.ErrUnroutable) }},
		"too large": {func() (int, any) { return failure400("BatchRequestTooLong") }, func(err error) bool { var e *broker.TooLargeError; return errors.As(err, &e) }},
		"server":    {func() (int, any) { return 500, object{"__type": "InternalFailure"} }, func(err error) bool { return errors.Is(err, broker.ErrUnknown) }},
		"reset":     {func() (int, any) { return 0, nil }, func(err error) bool { return errors.Is(err, broker.ErrUnknown) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &wire{answer: func(action string, request object) (int, any) {
				if action == "SendMessageBatch" {
					return c.answer()
				}
				return simple(action, request)
			}}
			errs := w.broker(t).Publish(t.Context(), []broker.Outbound{{Queue: "x.dlq", ID: "pub:1", Body: []byte("b")}})
			if errs[0] == nil || !c.want(errs[0]) {
				t.Errorf("%v", errs[0])
			}
			if n := len(w.calls("SendMessageBatch")); n != 1 {
				t.Errorf("sent %d times: a repeat could store it twice", n)
			}
		})
	}
}

// TestVisibilityZeroIsSent is S11: the SDK leaves out a zero in some requests, and SQS
// then takes the queue's own timeout.
func TestVisibilityZeroIsSent(t *testing.T) {
	t.Parallel()
	w := &wire{answer: simple}
	d := held(w.broker(t), queue{name: "orders", url: "u"}, "m")
	if _, err := d.Settle(t.Context(), broker.Release{}); err != nil {
		t.Fatal(err)
	}
	if calls := w.calls("ChangeMessageVisibilityBatch"); len(calls) != 1 || !strings.Contains(calls[0].raw, `"VisibilityTimeout":0`) {
		t.Errorf("asked %+v, want a visibility timeout of 0 in words", calls)
	}
}

// TestLongHoldsEnd is S3 on a delivery: after 12 hours the lease cannot be extended,
// and before that only for what is left.
func TestLongHoldsEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &wire{answer: simple}
		d := held(w.broker(t), queue{name: "orders", url: "u"}, "m")
		d.deadline = time.Now().Add(13 * time.Hour)
		if err := pass(t.Context(), 11*time.Hour); err != nil {
			t.Fatal(err)
		}
		if err := d.Extend(t.Context(), 2*time.Hour); err != nil {
			t.Fatal(err)
		}
		if raw := w.calls("ChangeMessageVisibilityBatch")[0].raw; !strings.Contains(raw, `"VisibilityTimeout":3600`) {
			t.Errorf("asked %s, want the hour that is left", raw)
		}
		if err := pass(t.Context(), time.Hour-500*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		if err := d.Extend(t.Context(), time.Minute); !errors.Is(err, broker.ErrLeaseLost) {
			t.Errorf("extend beyond 12 hours: %v, want ErrLeaseLost", err)
		}
	})
}

// TestRefusedReceiptsAreLostLeases is S10.
func TestRefusedReceiptsAreLostLeases(t *testing.T) {
	t.Parallel()
	for code, message := range map[string]string{
		"ReceiptHandleIsInvalid": "", "MessageNotInflight": "", "AWS.SimpleQueueService.MessageNotInflight": "",
		"InvalidParameterValue": "Value x for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired.",
	} {
		w := &wire{answer: func(action string, request object) (int, any) {
			if action == "DeleteMessageBatch" {
				return 200, entries(request, func(int, object) (object, object) {
					return nil, object{"Code": code, "Message": message, "SenderFault": true}
				})
			}
			return simple(action, request)
		}}
		d := held(w.broker(t), queue{name: "orders", url: "u"}, "m")
		if _, err := d.Settle(t.Context(), broker.Done{}); !errors.Is(err, broker.ErrLeaseLost) {
			t.Errorf("%s: %v, want ErrLeaseLost", code, err)
		}
	}
}

// TestMovesBySQSItself is S14: a server that cannot says so.
func TestMovesBySQSItself(t *testing.T) {
	t.Parallel()
	for code, unsupported := range map[string]bool{"UnsupportedOperation": true, "UnknownOperationException": true, "AccessDenied": false} {
		w := &wire{answer: func(action string, request object) (int, any) {
			if action == "StartMessageMoveTask" {
				return failure400(code)
			}
			return simple(action, request)
		}}
		if err := w.broker(t).MoveAll(t.Context(), "x.dlq", "x"); err == nil || errors.Is(err, broker.ErrUnsupported) != unsupported {
			t.Errorf("%s: %v", code, err)
		}
	}
}

// TestOpenRefusesAndWarns: a queue that loses letters stops the start with every
// problem; a low maxReceiveCount is told to the log and in Caps.
func TestOpenRefusesAndWarns(t *testing.T) {
	t.Parallel()
	w := &wire{answer: func(action string, request object) (int, any) {
		url, _ := request["QueueUrl"].(string)
		switch {
		case action == "GetQueueAttributes" && strings.Contains(url, "_2edlq"):
			return 200, object{"Attributes": object{"MessageRetentionPeriod": "345600"}}
		case action == "GetQueueAttributes":
			return 200, object{"Attributes": object{"RedrivePolicy": `{"deadLetterTargetArn":"arn:x","maxReceiveCount":3}`, "MessageRetentionPeriod": "1209600"}}
		}
		return simple(action, request)
	}}
	b := w.broker(t)
	err := b.Topology().Ensure(t.Context(), broker.Spec{Source: "orders"})
	var refused *broker.RefusedError
	if !errors.As(err, &refused) || len(refused.Problems) < 7 {
		t.Fatalf("%v, want every queue for letters among the problems", err)
	}
	if err := b.Topology().Ensure(t.Context(), broker.Spec{Source: "orders", Accept: []string{RuleLetterRetention, RuleLetterRedrive}}); err != nil {
		t.Errorf("refused although the rules are accepted: %v", err)
	}
	caps, err := b.Caps(t.Context(), "orders")
	if err != nil || !strings.Contains(strings.Join(caps.Notes, "\n"), "maxReceiveCount 3") {
		t.Errorf("notes %q, %v: want a word about maxReceiveCount", caps.Notes, err)
	}
}
