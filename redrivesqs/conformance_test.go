package redrivesqs_test

import (
	"context"
	"flag"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/brokertest"
	"github.com/redrive-dev/redrive/internal/servertest"
	"github.com/redrive-dev/redrive/internal/workertest"
	"github.com/redrive-dev/redrive/redrivesqs"
	"github.com/redrive-dev/redrive/redrivetest"
)

// TestMain lets more cases run at once than there are processors: nearly all of
// their time is waiting for leases and delays.
func TestMain(m *testing.M) {
	flag.Parse()
	if fuzzing := flag.Lookup("test.fuzz"); fuzzing == nil || fuzzing.Value.String() == "" {
		if err := flag.Set("test.parallel", "8"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// kind is what a run of the suite is about.
type kind struct {
	fifo  bool
	marks bool
}

// rig is the suite's way to one real server.
type rig struct {
	server *servertest.Server
	raw    *sqs.Client
	kind   kind
	// marks outlive the clients, as a database does.
	marks *redrivetest.Marks

	// denied ends the URL of a queue that takes no messages, nil for none.
	denied atomic.Pointer[string]

	mu    sync.Mutex
	links map[broker.Broker]*link
}

func newRig(t *testing.T, k kind) *rig {
	t.Helper()
	server := servertest.SQS(t, servertest.Options{})
	return &rig{
		server: server, raw: client(server.URL, nil), kind: k,
		marks: &redrivetest.Marks{}, links: map[broker.Broker]*link{},
	}
}

// client makes a client of the SDK. ElasticMQ takes any credentials.
func client(url string, edit func(*sqs.Options)) *sqs.Client {
	o := sqs.Options{
		Region: "elasticmq", BaseEndpoint: aws.String(url),
		Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
	}
	if edit != nil {
		edit(&o)
	}
	return sqs.New(o)
}

func (r *rig) harness() brokertest.Harness {
	h := brokertest.Harness{
		Open: func(t brokertest.T) broker.Broker { b, _ := r.open(t, 30*time.Second); return b },
		Restart: func(brokertest.T) {
			r.server.Kill()
			r.server.Restart()
		},
		Kill:       r.kill,
		Link:       func(t brokertest.T) (broker.Broker, brokertest.Link) { return r.open(t, 4*time.Second) },
		Refuse:     r.refuse,
		PublishRaw: r.publishRaw,
		Lease:      2 * time.Second,
		Tolerance:  60 * time.Second, // Of a loaded machine.
		Timeout:    5 * time.Minute,
		Hostile:    []broker.Header{{Name: "AWSTraceHeader", Value: []byte("Root=1-5759e988-bd862e3fe1be46a994272793")}},
	}
	if r.kind.fifo {
		unique := brokertest.Harness{}.WithDefaults().Queue
		h.Queue = func(t brokertest.T, name string) string {
			return strings.ReplaceAll(unique(t, name), ".", "-") + ".fifo"
		}
	}
	return h
}

// open makes a client whose connections can be damaged.
func (r *rig) open(t brokertest.T, patience time.Duration) (*redrivesqs.Broker, *link) {
	t.Helper()
	l := newLink(&r.denied)
	l.inPlace = r.kind.fifo
	c := redrivesqs.Config{WaitTime: time.Second, RequestTimeout: patience}
	if r.kind.marks {
		c.Marks = linkedMarks{r.marks, l}
	}
	b, err := redrivesqs.New(client(r.server.URL, func(o *sqs.Options) { o.HTTPClient = l.client }), c)
	if err != nil {
		t.Fatalf("new: %v", err)
	}
	r.mu.Lock()
	r.links[b] = l
	r.mu.Unlock()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := b.Close(ctx); err != nil {
			t.Logf("close: %v", err)
		}
		l.Cut()
	})
	return b, l
}

// kill cuts the connections of a client for good.
func (r *rig) kill(_ brokertest.T, b broker.Broker) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.links[b].Cut()
}

// refuse lets the server deny what is sent to the queue for letters, as a policy does.
func (r *rig) refuse(_ brokertest.T, queue string) (heal func()) {
	name := "/" + nativeName(queue) + `"`
	r.denied.Store(&name)
	return func() { r.denied.Store(nil) }
}

// nativeName is what SQS calls a queue of the suite.
func nativeName(queue string) string {
	end := ""
	if strings.Contains(queue, ".fifo") {
		end = ".fifo"
	}
	return strings.ReplaceAll(strings.Replace(queue, ".fifo", "", 1), ".", "_2e") + end
}

func (r *rig) publishRaw(t brokertest.T, queue string, m broker.Message) {
	t.Helper()
	found, err := r.raw.GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: aws.String(nativeName(queue))})
	if err != nil {
		t.Fatalf("find queue: %v", err)
	}
	in := &sqs.SendMessageInput{QueueUrl: found.QueueUrl, MessageBody: aws.String(string(m.Body)), MessageAttributes: map[string]types.MessageAttributeValue{}}
	for _, h := range m.Headers {
		in.MessageAttributes[h.Name] = types.MessageAttributeValue{DataType: aws.String("String"), StringValue: aws.String(string(h.Value))}
	}
	for _, h := range m.Control {
		in.MessageSystemAttributes = map[string]types.MessageSystemAttributeValue{h.Name: {DataType: aws.String("String"), StringValue: aws.String(string(h.Value))}}
	}
	if r.kind.fifo {
		// No message of a FIFO queue is without a group, which is its key unless this
		// says otherwise.
		in.MessageAttributes[redrivesqs.AttributeDetails] = types.MessageAttributeValue{DataType: aws.String("String"), StringValue: aws.String(`{"no_key":true}`)}
		in.MessageGroupId, in.MessageDeduplicationId = aws.String("raw"), aws.String(string(m.Body))
	}
	if _, err := r.raw.SendMessage(t.Context(), in); err != nil {
		t.Fatalf("publish with a plain client: %v", err)
	}
}

// full leaves a suite that takes minutes, and differs little from the others, to
// REDRIVE_FULL=1.
func full(t *testing.T) {
	t.Helper()
	if os.Getenv("REDRIVE_FULL") != "1" {
		t.Skip("takes minutes: set REDRIVE_FULL=1")
	}
}

// onServer leaves suites on a real server to runs without -short.
func onServer(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes minutes on a real server")
	}
}

// TestConformance runs the suite on standard queues, without a store for marks.
func TestConformance(t *testing.T) {
	onServer(t)
	brokertest.Run(t, newRig(t, kind{}).harness())
}

// TestConformanceWithMarks runs the suite on standard queues, with a store.
func TestConformanceWithMarks(t *testing.T) {
	full(t)
	brokertest.RunCases(t, newRig(t, kind{marks: true}).harness(), brokertest.Cases())
}

// TestConformanceOfFIFO runs the suite on FIFO queues.
func TestConformanceOfFIFO(t *testing.T) {
	onServer(t)
	brokertest.RunCases(t, newRig(t, kind{fifo: true, marks: true}).harness(), brokertest.Cases())
}

// TestConformanceOfWorkers runs workers on standard queues.
func TestConformanceOfWorkers(t *testing.T) {
	onServer(t)
	brokertest.RunCases(t, newRig(t, kind{marks: true}).harness(), workertest.Cases())
}

// TestConformanceOfWorkersOnFIFO runs workers on FIFO queues.
func TestConformanceOfWorkersOnFIFO(t *testing.T) {
	full(t)
	brokertest.RunCases(t, newRig(t, kind{fifo: true, marks: true}).harness(), workertest.Cases())
}
