package app

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/redriverabbitmq"
	"github.com/redrive-dev/redrive/server/internal/config"
)

// openRabbitMQ connects to RabbitMQ.
func openRabbitMQ(ctx context.Context, r remote) (broker.Broker, error) {
	c, err := rabbitConfig(ctx, r.Broker)
	if err != nil {
		return nil, err
	}
	c.Marks = r.marks
	b, err := redriverabbitmq.Connect(ctx, c)
	if err != nil {
		return nil, err
	}
	r.cleanup.push("close the broker", b.Close)
	return b, nil
}

func rabbitConfig(ctx context.Context, b config.Broker) (redriverabbitmq.Config, error) {
	password, passwordErr := b.Password.Reveal(ctx)
	security, tlsErr := tlsConfig(b.TLS)
	return redriverabbitmq.Config{
		URL: b.URL, User: b.User, Password: password, Vhost: b.Vhost, TLS: security, ManagementURL: b.ManagementURL,
		Protocol: redriverabbitmq.Protocol(b.Protocol), ConsumerTimeout: time.Duration(b.ConsumerTimeout),
	}, errors.Join(named("password", passwordErr), named("tls", tlsErr))
}

// removeRabbitMQ deletes the queues of a demo through the management API: only it
// tells which there are.
func removeRabbitMQ(ctx context.Context, b config.Broker, prefix string) error {
	if b.ManagementURL == "" {
		return errors.New("without management_url nobody tells which queues there are")
	}
	c, err := rabbitConfig(ctx, b)
	if err != nil {
		return err
	}
	m := management{client: &http.Client{Timeout: 10 * time.Second}, config: c}
	if c.TLS != nil {
		m.client.Transport = &http.Transport{TLSClientConfig: c.TLS, TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}
	}
	defer m.client.CloseIdleConnections()
	var queues []struct {
		Name string `json:"name"`
	}
	if err := m.call(ctx, http.MethodGet, "", &queues); err != nil {
		return err
	}
	var errs []error
	for _, q := range queues {
		if strings.HasPrefix(q.Name, prefix) {
			errs = append(errs, m.call(ctx, http.MethodDelete, q.Name, nil))
		}
	}
	return errors.Join(errs...)
}

// management is RabbitMQ's management API, for what the adapter does not do.
type management struct {
	client *http.Client
	config redriverabbitmq.Config
}

// call asks about the queues of the virtual host, or one of them.
func (m management) call(ctx context.Context, method, queue string, into any) error {
	address := strings.TrimSuffix(m.config.ManagementURL, "/") + "/api/queues/" + url.PathEscape(m.config.Vhost)
	if queue != "" {
		address += "/" + url.PathEscape(queue)
	}
	req, err := http.NewRequestWithContext(ctx, method, address, http.NoBody)
	if err != nil {
		return err
	}
	user, password := m.config.User, m.config.Password
	if user == "" {
		user, password = "guest", "guest"
	}
	req.SetBasicAuth(user, password)
	resp, err := m.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // It was only read from.
	if resp.StatusCode/100 != 2 && resp.StatusCode != http.StatusNotFound {
		return fmt.Errorf("management API: %s", resp.Status)
	}
	if into == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(into)
}
