package app

import (
	"context"
	"errors"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

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

// removeNATS deletes the streams of a demo: those of its own prefix, and its source.
func removeNATS(ctx context.Context, b config.Broker, prefix string) error {
	c, err := natsConfig(ctx, b)
	if err != nil {
		return err
	}
	nc, err := dialNATS(c)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	var errs []error
	names := js.StreamNames(ctx)
	for name := range names.Name() {
		if strings.HasPrefix(name, "redrive-"+prefix+"_") || strings.HasPrefix(name, "KV_redrive-"+prefix+"_") {
			errs = append(errs, js.DeleteStream(ctx, name))
		}
	}
	return errors.Join(append(errs, names.Err())...)
}

// dialNATS connects for what the adapter does not do.
func dialNATS(c redrivenats.Config) (*nats.Conn, error) {
	options := []nats.Option{nats.Name("redrive"), nats.Timeout(c.WithDefaults().ConnectTimeout)}
	switch {
	case c.Token != "":
		options = append(options, nats.Token(c.Token))
	case c.User != "":
		options = append(options, nats.UserInfo(c.User, c.Password))
	case c.CredsFile != "":
		options = append(options, nats.UserCredentials(c.CredsFile))
	case c.NKeyFile != "":
		option, err := nats.NkeyOptionFromSeed(c.NKeyFile)
		if err != nil {
			return nil, err
		}
		options = append(options, option)
	}
	if c.TLS != nil {
		options = append(options, nats.Secure(c.TLS))
	}
	return nats.Connect(c.URL, options...)
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
