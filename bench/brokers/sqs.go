package brokers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"github.com/redrive-dev/redrive/internal/servertest"
	"github.com/redrive-dev/redrive/redrivesqs"
)

func amazonSQS(z sizes) *system {
	return &system{
		id: "sqs", name: "Amazon SQS (ElasticMQ)", kind: servertest.KindSQS, sizes: z, ratio: 0.95, late: 1500 * time.Millisecond, arrival: 20 * time.Millisecond,
		loop: "The raw loop is " + strconv.Itoa(pollers) + " goroutines; each receives ten messages, hands them to a handler and deletes them by one confirmed request. " +
			"To dead-letter, it first sends ten copies by one confirmed request.",
		delays: "SQS delays by full seconds, which redrive rounds up.",
		connect: func(_ context.Context, url string) (adapter, error) {
			return redrivesqs.New(sqsClient(url), redrivesqs.Config{WaitTime: time.Second})
		},
		drain: drainSQS,
	}
}

const (
	// batch is the most that one request of SQS takes.
	batch = 10
	// pollers of the raw loop together have as many messages as redrive may hold.
	pollers = window / batch
)

// sqsClient makes a client with a connection for every request that runs.
func sqsClient(url string) *sqs.Client {
	client := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConns, t.MaxIdleConnsPerHost = window, window
	})
	return sqs.New(sqs.Options{
		Region: "elasticmq", BaseEndpoint: aws.String(url), HTTPClient: client,
		Credentials: credentials.NewStaticCredentialsProvider("bench", "bench", ""),
	})
}

type sqsLoop struct {
	client         *sqs.Client
	source, letter *string
	dead           bool
	t              *tally
}

func drainSQS(ctx context.Context, url, queue string, dead bool, t *tally) error {
	l := &sqsLoop{client: sqsClient(url), dead: dead, t: t}
	for name, to := range map[string]**string{queue: &l.source, queue + "_2edlq": &l.letter} {
		found, err := l.client.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: &name})
		if err != nil {
			return quiet(ctx, err)
		}
		*to = found.QueueUrl
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var running sync.WaitGroup
	errs := make([]error, pollers)
	for i := range pollers {
		running.Go(func() {
			for ctx.Err() == nil && errs[i] == nil {
				if errs[i] = quiet(ctx, l.round(ctx)); errs[i] != nil {
					stop(errs[i])
				}
			}
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

// round settles what one request receives.
func (l *sqsLoop) round(ctx context.Context) error {
	got, err := l.client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		QueueUrl: l.source, MaxNumberOfMessages: batch, WaitTimeSeconds: 1,
		MessageAttributeNames: []string{"All"}, MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll},
	})
	if err != nil || len(got.Messages) == 0 {
		return err
	}
	var copies []types.SendMessageBatchRequestEntry
	var ends []types.DeleteMessageBatchRequestEntry
	for i, m := range got.Messages {
		l.t.handle([]byte(aws.ToString(m.Body)))
		id := aws.String(strconv.Itoa(i))
		copies = append(copies, types.SendMessageBatchRequestEntry{Id: id, MessageBody: m.Body, MessageAttributes: m.MessageAttributes})
		ends = append(ends, types.DeleteMessageBatchRequestEntry{Id: id, ReceiptHandle: m.ReceiptHandle})
	}
	if l.dead {
		sent, err := l.client.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: l.letter, Entries: copies})
		if err != nil {
			return err
		}
		if len(sent.Failed) > 0 {
			return fmt.Errorf("%d copies were refused", len(sent.Failed))
		}
	}
	ended, err := l.client.DeleteMessageBatch(ctx, &sqs.DeleteMessageBatchInput{QueueUrl: l.source, Entries: ends})
	if err != nil {
		return err
	}
	l.t.settle(len(ended.Successful))
	return nil
}
