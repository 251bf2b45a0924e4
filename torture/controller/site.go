package controller

import (
	"context"
	"slices"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/internal/servertest"
	"github.com/redrive-dev/redrive/torture/checker"
	"github.com/redrive-dev/redrive/torture/disk"
	"github.com/redrive-dev/redrive/torture/worker"
)

// site is where the broker of a run lives. It is used by one goroutine.
type site interface {
	// start starts the broker, on what an earlier one left behind if there was one,
	// and returns when it answers.
	start(ctx context.Context) error
	// kill ends the broker without any warning.
	kill(ctx context.Context) error
	// ended is closed when the broker has ended, and the function then says how. A
	// site that cannot tell returns nil.
	ended() (<-chan struct{}, func() error)
	// connection is how to reach the broker, whether or not it is up.
	connection() worker.Connection
	// close ends the broker and removes what it left behind, unless that is in the
	// folder of the run.
	close(ctx context.Context) error
}

// powered is a site whose power can be cut.
type powered interface {
	// cutPower kills the broker, lets its disk forget what was not synchronised, and
	// starts the broker on what is left.
	cutPower(ctx context.Context) (disk.Loss, error)
}

// log is a site whose queues are logs: what was handled stays in them, and groups
// say how far they are.
type log interface {
	// behind counts what the groups have still to settle.
	behind(ctx context.Context, names []broker.Names) (int64, error)
	// pending reads what they have still to settle.
	pending(ctx context.Context, names []broker.Names) ([]checker.Letter, error)
}

// kind is what there is to know about a type of broker.
type kind struct {
	name string
	// open makes the site of a run and starts nothing.
	open func(context.Context, *run) (site, error)
	// server is what the server is, if it is not embedded.
	server servertest.Kind
	// binary says that the site needs the redrive binary, and disk that its power can
	// be cut.
	binary, disk bool
	// pause is the default of Config.Pause.
	pause time.Duration
	// oneGroup says that a queue has one consumer group.
	oneGroup bool
	// late says that counts of messages leave out some that are in flight, or come
	// late.
	late bool
	// idle is how long a worker may take to start before it is killed all the same.
	idle time.Duration
	// forgets says that the broker learns of settlements a moment after they are
	// confirmed, so that a killed worker can take some with it.
	forgets bool
	// ghosts says that a killed broker can keep a message that it knows to be
	// acknowledged, and give it to nobody.
	ghosts bool
}

// kinds are the types of brokers, the first being the default.
func kinds() []kind {
	return []kind{
		{name: worker.TypeNATS, open: newEmbedded, binary: true, disk: true, pause: 200 * time.Millisecond, idle: 2 * time.Second, ghosts: true},
		{
			name: worker.TypeKafka, open: newKafka, server: servertest.KindKafka,
			pause: 800 * time.Millisecond, idle: 15 * time.Second, forgets: true,
		},
		rabbitMQ("", servertest.KindRabbitMQ43),
		rabbitMQ("-3.10", servertest.KindRabbitMQ310),
		rabbitMQ("-4.0", servertest.KindRabbitMQ40),
		rabbitMQ("-4.3", servertest.KindRabbitMQ43),
		{
			name: worker.TypeSQS, open: opener(worker.TypeSQS), server: servertest.KindSQS,
			oneGroup: true, pause: 200 * time.Millisecond, idle: 5 * time.Second, late: true,
		},
	}
}

func rabbitMQ(suffix string, server servertest.Kind) kind {
	return kind{
		name: worker.TypeRabbitMQ + suffix, open: opener(worker.TypeRabbitMQ), server: server,
		oneGroup: true, pause: 200 * time.Millisecond, idle: 5 * time.Second, late: true, forgets: true,
	}
}

// opener makes sites of servers that need nothing but a connection.
func opener(brokerType string) func(context.Context, *run) (site, error) {
	return func(ctx context.Context, r *run) (site, error) {
		s, err := newServerSite(ctx, r, brokerType)
		if err != nil {
			return nil, err
		}
		return s, nil
	}
}

// Brokers lists the names that Config.Broker can have.
func Brokers() []string {
	var out []string
	for _, k := range kinds() {
		out = append(out, k.name)
	}
	return out
}

// kindOf returns the kind of that name, or an empty one.
func kindOf(name string) kind {
	all := kinds()
	if i := slices.IndexFunc(all, func(k kind) bool { return k.name == name }); i >= 0 {
		return all[i]
	}
	return kind{}
}
