package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/server/internal/config"
)

// remote is what a broker that another process runs is opened with.
type remote struct {
	config.Broker

	// marks are the notes of a broker that cannot keep them itself, nil if it can or
	// shall not have any.
	marks broker.MarkStore
	// cleanup takes what is to be undone when the broker is closed, or could not be
	// opened.
	cleanup *cleanup
	log     *slog.Logger
}

// opening is how brokers of one type are opened.
type opening struct {
	open func(ctx context.Context, r remote) (broker.Broker, error)
	// remove deletes what lies there under names that begin with a prefix.
	remove func(ctx context.Context, b config.Broker, prefix string) error
	// needs says what the server has to have.
	needs string
}

// openings is the one place that knows which types of brokers there are.
func openings(brokerType string) (opening, bool) {
	switch brokerType {
	case config.BrokerNATS:
		return opening{openNATS, removeNATS, "see that the server runs and JetStream is on"}, true
	case config.BrokerKafka:
		return opening{openKafka, removeKafka, "see that the brokers run and may be reached from here"}, true
	case config.BrokerRabbitMQ:
		return opening{openRabbitMQ, removeRabbitMQ, "see that the server runs, with its management plugin if management_url is set"}, true
	case config.BrokerSQS:
		return opening{openSQS, removeSQS, "see that AWS credentials are found, such as AWS_ACCESS_KEY_ID or AWS_PROFILE, and that they may list queues"}, true
	}
	return opening{}, false
}

// connectRemote connects to a broker that another process runs. Errors are a
// *BrokerError.
func connectRemote(ctx context.Context, c Config, name string, log *slog.Logger) (*Connection, error) {
	b := c.Brokers[name]
	conn := &Connection{Name: name}
	how, ok := openings(b.Type)
	if !ok {
		return nil, &BrokerError{Broker: name, Err: fmt.Errorf("type %q is not supported", b.Type), Remedy: "use another type"}
	}
	var err error
	r := remote{Broker: b, cleanup: &conn.cleanup, log: log.With(slog.String("broker", name))}
	if b.Marks.Store == "sqlite" {
		conn.marks = newMarks(string(c.DataDir), name)
		conn.cleanup.push("close the notes", conn.marks.close)
		r.marks = conn.marks
	}
	conn.Broker, err = how.open(ctx, r)
	if err != nil {
		err = errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
		return nil, &BrokerError{Broker: name, Err: err, Remedy: how.needs + ", or correct brokers." + name}
	}
	return conn, nil
}

// named says which setting an error is about.
func named(setting string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", setting, err)
}

func tlsConfig(t *config.TLS) (*tls.Config, error) {
	if t == nil {
		return nil, nil //nolint:nilnil // no settings make no configuration
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CAFile != "" {
		pem, err := os.ReadFile(string(t.CAFile))
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_file: %s holds no certificate in PEM form", t.CAFile)
		}
	}
	if t.CertFile != "" {
		cert, key := string(t.CertFile), string(t.KeyFile)
		if _, err := tls.LoadX509KeyPair(cert, key); err != nil {
			return nil, fmt.Errorf("cert_file and key_file: %w", err)
		}
		// It is read again for each connection, so that a renewed one is used.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(cert, key)
			return &pair, err
		}
	}
	return c, nil
}
