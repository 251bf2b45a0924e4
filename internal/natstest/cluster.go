package natstest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Cluster is several nats-server processes that replicate JetStream among
// themselves. Each server can be killed and started again on its own.
type Cluster struct {
	// Servers are the members.
	Servers []*Server
	// Token is the token that clients present, empty if Options.Client is set.
	Token string

	tb testing.TB
}

// StartCluster runs a cluster of n servers on free loopback ports, each with a
// data directory of its own. It ends with the test.
func StartCluster(tb testing.TB, n int, options Options) *Cluster {
	tb.Helper()
	c := &Cluster{tb: tb}
	routes := make([]string, n)
	ports := freePorts(tb, 2*n)
	for i := range n {
		s := newServer(tb, options)
		s.name = fmt.Sprintf("n%d", i)
		s.take(ports[i])
		routes[i] = fmt.Sprintf("nats-route://127.0.0.1:%d", ports[n+i])
		c.Servers = append(c.Servers, s)
	}
	c.Token = c.Servers[0].Token
	for i, s := range c.Servers {
		others := slices.Delete(slices.Clone(routes), i, i+1)
		// Without no_advertise clients would be told of servers under other addresses.
		s.config = writeConfig(tb, s, options, fmt.Sprintf(
			"server_name: %s\ncluster { name: natstest, listen: \"127.0.0.1:%d\", no_advertise: true, routes: [%s] }",
			s.name, ports[n+i], strings.Join(others, ", ")))
		if err := s.launch(); err != nil {
			tb.Fatalf("start member %s: %v", s.name, err)
		}
		tb.Cleanup(s.stop)
	}
	for _, s := range c.Servers {
		s.awaitReady()
	}
	return c
}

// freePorts finds several ports at once: one after the other could be the same.
func freePorts(tb testing.TB, n int) []int {
	tb.Helper()
	var ports []int
	for len(ports) < n {
		if port := freePort(tb); !slices.Contains(ports, port) {
			ports = append(ports, port)
		}
	}
	return ports
}

// URL names all members, separated by commas.
func (c *Cluster) URL() string {
	urls := make([]string, len(c.Servers))
	for i, s := range c.Servers {
		urls[i] = s.URL
	}
	return strings.Join(urls, ",")
}

// Connect returns a plain connection to any member. It closes with the test.
func (c *Cluster) Connect(options ...nats.Option) *nats.Conn {
	c.tb.Helper()
	own := append(slices.Clone(c.Servers[0].client), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	nc, err := nats.Connect(c.URL(), append(own, options...)...)
	if err != nil {
		c.tb.Fatalf("connect to the test cluster: %v", err)
	}
	c.tb.Cleanup(nc.Close)
	return nc
}

// StreamLeader returns the member that leads a stream.
func (c *Cluster) StreamLeader(ctx context.Context, js jetstream.JetStream, stream string) *Server {
	c.tb.Helper()
	return c.leader(ctx, "stream "+stream, func(ctx context.Context) (*jetstream.ClusterInfo, error) {
		s, err := js.Stream(ctx, stream)
		if err != nil {
			return nil, err
		}
		return s.CachedInfo().Cluster, nil
	})
}

// ConsumerLeader returns the member that leads a consumer.
func (c *Cluster) ConsumerLeader(ctx context.Context, js jetstream.JetStream, stream, consumer string) *Server {
	c.tb.Helper()
	return c.leader(ctx, "consumer "+consumer, func(ctx context.Context) (*jetstream.ClusterInfo, error) {
		s, err := js.Consumer(ctx, stream, consumer)
		if err != nil {
			return nil, err
		}
		return s.CachedInfo().Cluster, nil
	})
}

// leader asks until there is one: an election takes a moment.
func (c *Cluster) leader(ctx context.Context, what string, ask func(context.Context) (*jetstream.ClusterInfo, error)) *Server {
	c.tb.Helper()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		info, err := try(ctx, ask)
		if err == nil && info != nil {
			for _, s := range c.Servers {
				if s.name == info.Leader {
					return s
				}
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			c.tb.Fatalf("%s has no leader: %v", what, err)
		}
	}
}

// try asks once: a request to a leader that has just died is never answered.
func try[T any](ctx context.Context, ask func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return ask(ctx)
}

// AwaitCurrent waits until every replica of every stream has caught up.
func (c *Cluster) AwaitCurrent(ctx context.Context, js jetstream.JetStream) {
	c.tb.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		behind, err := try(ctx, func(ctx context.Context) (string, error) { return c.behind(ctx, js) })
		if behind == "" && err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			c.tb.Fatalf("the cluster is not whole again: %s, %v", behind, err)
		}
	}
}

// behind names a stream that a member lacks something of.
func (c *Cluster) behind(ctx context.Context, js jetstream.JetStream) (string, error) {
	list := js.ListStreams(ctx)
	for info := range list.Info() {
		if info.Cluster == nil || info.Cluster.Leader == "" {
			return "stream " + info.Config.Name + " has no leader", nil
		}
		for _, peer := range info.Cluster.Replicas {
			if !peer.Current || peer.Offline {
				return fmt.Sprintf("stream %s on %s is not current", info.Config.Name, peer.Name), nil
			}
		}
	}
	if err := list.Err(); !errors.Is(err, jetstream.ErrEndOfData) {
		return "", err
	}
	return "", nil
}
