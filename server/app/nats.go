package app

import (
	"context"
	"errors"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/redrivenats"
	"github.com/redrive-dev/redrive/server/internal/config"
)

// openNATS connects to a NATS server or cluster.
func openNATS(ctx context.Context, s remote) (broker.Broker, error) {
	c, err := natsConfig(ctx, s.Broker)
	if err != nil {
		return nil, err
	}
	b, err := redrivenats.Connect(ctx, c)
	if err != nil {
		return nil, err
	}
	s.cleanup.push("close the broker", b.Close)
	return b, nil
}

func natsConfig(ctx context.Context, b config.Broker) (redrivenats.Config, error) {
	token, tokenErr := b.Token.Reveal(ctx)
	password, passwordErr := b.Password.Reveal(ctx)
	security, tlsErr := tlsConfig(b.TLS)
	return redrivenats.Config{
		URL: b.URL, Token: token, User: b.User, Password: password,
		CredsFile: string(b.CredsFile), NKeyFile: string(b.NKeyFile),
		TLS: security, Replicas: b.Replicas, Prefix: b.Prefix,
	}, errors.Join(named("token", tokenErr), named("password", passwordErr), named("tls", tlsErr))
}
