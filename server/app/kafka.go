package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/redrivekafka"
	"github.com/redrive-dev/redrive/server/internal/config"
)

// openKafka connects to a Kafka cluster.
func openKafka(ctx context.Context, r remote) (broker.Broker, error) {
	c, err := kafkaConfig(ctx, r.Broker)
	if err != nil {
		return nil, err
	}
	b, err := redrivekafka.Connect(ctx, c)
	if err != nil {
		return nil, err
	}
	r.cleanup.push("close the broker", b.Close)
	return b, nil
}

func kafkaConfig(ctx context.Context, b config.Broker) (redrivekafka.Config, error) {
	c := redrivekafka.Config{
		Brokers:  b.Addresses(),
		Replicas: b.ReplicationFactor, MinInSyncReplicas: b.MinInsyncReplicas, Partitions: b.Partitions,
		Ordered: b.Order == "key", SessionTimeout: time.Duration(b.SessionTimeout),
	}
	security, tlsErr := tlsConfig(b.TLS)
	if security != nil {
		c.Options = append(c.Options, kgo.DialTLSConfig(security))
	}
	mechanism, saslErr := saslMechanism(ctx, b.SASL)
	if mechanism != nil {
		c.Options = append(c.Options, kgo.SASL(mechanism))
	}
	return c, errors.Join(named("tls", tlsErr), named("sasl", saslErr))
}

func saslMechanism(ctx context.Context, s *config.SASL) (sasl.Mechanism, error) {
	if s == nil {
		return nil, nil //nolint:nilnil // no settings make no mechanism
	}
	password, err := s.Password.Reveal(ctx)
	if err != nil {
		return nil, err
	}
	switch s.Mechanism {
	case "plain":
		return plain.Auth{User: s.User, Pass: password}.AsMechanism(), nil
	case "scram-sha-256":
		return scram.Auth{User: s.User, Pass: password}.AsSha256Mechanism(), nil
	case "scram-sha-512":
		return scram.Auth{User: s.User, Pass: password}.AsSha512Mechanism(), nil
	case "oauthbearer":
		if _, err := s.Token.Reveal(ctx); err != nil {
			return nil, err
		}
		return oauth.Oauth(func(ctx context.Context) (oauth.Auth, error) {
			token, err := s.Token.Reveal(ctx)
			return oauth.Auth{Token: token}, err
		}), nil
	}
	return nil, fmt.Errorf("mechanism %q is not supported", s.Mechanism)
}

// removeKafka deletes the topics and the consumer groups of a demo.
func removeKafka(ctx context.Context, b config.Broker, prefix string) error {
	c, err := kafkaConfig(ctx, b)
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(append(c.Options, kgo.SeedBrokers(c.Brokers...), kgo.ClientID("redrive"))...)
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	topics, err := admin.ListTopics(ctx)
	if err != nil {
		return err
	}
	names := slices.DeleteFunc(topics.Names(), func(name string) bool { return !strings.HasPrefix(name, prefix) })
	if len(names) > 0 {
		deleted, err := admin.DeleteTopics(ctx, names...)
		if err = errors.Join(err, deleted.Error()); err != nil {
			return err
		}
	}
	return removeGroups(ctx, admin, prefix)
}

// removeGroups deletes the groups of a demo. One that still has a member, because
// its process was killed, is left to the cluster, which forgets it by its age.
func removeGroups(ctx context.Context, admin *kadm.Client, prefix string) error {
	groups, err := admin.ListGroups(ctx)
	if err != nil {
		return err
	}
	names := slices.DeleteFunc(groups.Groups(), func(name string) bool { return !strings.Contains(name, prefix) })
	if len(names) == 0 {
		return nil
	}
	_, err = admin.DeleteGroups(ctx, names...)
	return err
}
