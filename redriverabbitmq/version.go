package redriverabbitmq

import (
	"fmt"
	"strconv"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"
)

// server is what the broker said about itself when a connection was made.
type server struct {
	product, version, cluster string
	major, minor, patch       int
}

// probe reads the properties of a connection.
func probe(properties amqp.Table) server {
	var s server
	s.product, _ = properties["product"].(string)
	s.version, _ = properties["version"].(string)
	s.cluster, _ = properties["cluster_name"].(string)
	numbers := strings.FieldsFunc(s.version, func(r rune) bool { return r == '.' || r == '-' || r == '+' || r == '~' })
	for i, n := range []*int{&s.major, &s.minor, &s.patch} {
		if i < len(numbers) {
			*n, _ = strconv.Atoi(numbers[i]) // What is no number counts as 0.
		}
	}
	return s
}

// atLeast reports whether the server is of this release or a newer one.
func (s server) atLeast(major, minor, patch int) bool {
	if s.major != major {
		return s.major > major
	}
	if s.minor != minor {
		return s.minor > minor
	}
	return s.patch >= patch
}

func (s server) String() string { return s.product + " " + s.version }

// check refuses servers that cannot move a message out of a delay without losing
// it: before 3.10 dead-lettering is not confirmed.
func (s server) check() error {
	if s.product != "RabbitMQ" {
		return fmt.Errorf("redriverabbitmq: the server is %q, want RabbitMQ", s.product)
	}
	if !s.atLeast(3, 10, 0) {
		return fmt.Errorf("redriverabbitmq: RabbitMQ %s dead-letters without confirmation and loses messages in a crash: upgrade to 3.10 or newer", s.version)
	}
	return nil
}
