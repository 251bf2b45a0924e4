package app

import (
	"context"
	"errors"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/redrivesqs"
	"github.com/redrive-dev/redrive/server/internal/config"
)

// openSQS makes a client of Amazon SQS, or of what speaks its protocol, and asks it
// something: it has no connection that could fail.
func openSQS(ctx context.Context, r remote) (broker.Broker, error) {
	client, err := sqsClient(ctx, r.Broker)
	if err != nil {
		return nil, err
	}
	b, err := redrivesqs.New(client, redrivesqs.Config{
		Region: r.Region, Endpoint: r.Endpoint, Prefix: r.Prefix, Marks: r.marks, Logger: r.log,
	})
	if err != nil {
		return nil, err
	}
	r.cleanup.push("close the broker", b.Close)
	if _, err := b.Topology().Queues(ctx); err != nil {
		return nil, err
	}
	return b, nil
}

// sqsConnections is how many connections are kept: requests run in parallel.
const sqsConnections = 128

func sqsClient(ctx context.Context, b config.Broker) (*sqs.Client, error) {
	security, err := tlsConfig(b.TLS)
	if err != nil {
		return nil, named("tls", err)
	}
	client := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConns, t.MaxIdleConnsPerHost = sqsConnections, sqsConnections
		if security != nil {
			t.TLSClientConfig = security
		}
	})
	options := []func(*awsconfig.LoadOptions) error{awsconfig.WithHTTPClient(client)}
	if b.Region != "" {
		options = append(options, awsconfig.WithRegion(b.Region))
	}
	c, err := awsconfig.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, err
	}
	if c.Region == "" {
		if b.Endpoint == "" {
			return nil, errors.New("no region is set here, in AWS_REGION or in the AWS profile")
		}
		c.Region = "us-east-1" // Another server has none, and requests are signed for one.
	}
	return sqs.NewFromConfig(c, func(o *sqs.Options) {
		if b.Endpoint != "" {
			o.BaseEndpoint = aws.String(b.Endpoint)
		}
	}), nil
}

// removeSQS deletes the queues of a demo.
func removeSQS(ctx context.Context, b config.Broker, prefix string) error {
	client, err := sqsClient(ctx, b)
	if err != nil {
		return err
	}
	pages := sqs.NewListQueuesPaginator(client, &sqs.ListQueuesInput{QueueNamePrefix: aws.String(prefix), MaxResults: aws.Int32(1000)})
	var errs []error
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		for _, address := range page.QueueUrls {
			_, err := client.DeleteQueue(ctx, &sqs.DeleteQueueInput{QueueUrl: aws.String(address)})
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
