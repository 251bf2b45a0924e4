package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// kafkaTopics stands in for the program of that name, which comes with Kafka's
// distribution and not with the artefacts that the tests have. It makes a topic.
func kafkaTopics() {
	server := flag.String("bootstrap-server", "", "")
	topic := flag.String("topic", "", "")
	partitions := flag.Int("partitions", 1, "")
	_ = flag.Bool("create", false, "")
	flag.Parse()
	client, err := kgo.NewClient(kgo.SeedBrokers(*server))
	if err == nil {
		_, err = kadm.NewClient(client).CreateTopic(context.Background(), int32(*partitions), -1, nil, *topic)
		client.Close()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("Created topic %s.\n", *topic)
}
