package cli

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/redrive-dev/redrive/server/internal/config"
	"github.com/redrive-dev/redrive/server/internal/demo"
)

// demoSession is the shortest session that a Kafka cluster allows unless it is told
// otherwise.
const demoSession = 6 * time.Second

// demoBrokers are the types that --broker takes.
func demoBrokers() []string {
	return []string{config.BrokerNATS, config.BrokerKafka, config.BrokerRabbitMQ, config.BrokerSQS}
}

// demoPlatform is what the demo runs on: the embedded broker, a server that the
// flags name, or a broker of the configuration.
func (c *call) demoPlatform(f demoFlags) (demo.Platform, error) {
	switch {
	case f.broker == "" && (f.url != "" || f.management != ""):
		return demo.Platform{}, usageError("add --broker "+strings.Join(demoBrokers(), "|"), "--url needs --broker")
	case f.broker == "":
		return c.Services.Demo, nil
	}
	b, err := c.demoBroker(f)
	if err != nil {
		return demo.Platform{}, err
	}
	return c.Services.DemoOn(b), nil
}

func (c *call) demoBroker(f demoFlags) (config.Broker, error) {
	if f.url == "" {
		if b, ok, err := c.configuredBroker(f.broker); ok || err != nil {
			return b, err
		}
	}
	if !slices.Contains(demoBrokers(), f.broker) {
		return config.Broker{}, usageError("use "+strings.Join(demoBrokers(), ", ")+", or the name of a broker in the configuration", "there is no broker %q", f.broker)
	}
	b := config.Broker{Type: f.broker, URL: f.url, ManagementURL: f.management}
	switch f.broker {
	case config.BrokerKafka:
		// A worker that was killed is missed as soon as every cluster allows.
		b.SessionTimeout = config.Duration(demoSession)
	case config.BrokerSQS:
		b.URL, b.Endpoint = "", f.url
	}
	if f.url == "" {
		b.URL = map[string]string{
			config.BrokerNATS: "nats://127.0.0.1:4222", config.BrokerKafka: "127.0.0.1:9092", config.BrokerRabbitMQ: "amqp://127.0.0.1:5672",
		}[f.broker]
	}
	credentials(&b.URL, &b)
	checked := config.Config{Brokers: map[string]config.Broker{"url": b}}
	if err := checked.Validate(); err != nil {
		return b, usageError("see redrive demo --help", "%w", err)
	}
	return b, nil
}

// credentials moves a user and a password out of a URL, because URLs are logged.
func credentials(text *string, b *config.Broker) {
	u, err := url.Parse(*text)
	if err != nil || u.User == nil {
		return
	}
	password, given := u.User.Password()
	switch {
	case given:
		b.User, b.Password = u.User.Username(), config.SecretFromValue(password)
	case b.Type == config.BrokerNATS:
		b.Token = config.SecretFromValue(u.User.Username())
	default:
		return
	}
	u.User = nil
	*text = u.String()
}

// configuredBroker looks for a broker in the configuration, if there is one.
func (c *call) configuredBroker(name string) (config.Broker, bool, error) {
	l, err := config.Load(config.Options{File: c.flags.config, Environ: c.Environ})
	if err != nil {
		if slices.Contains(demoBrokers(), name) {
			return config.Broker{}, false, nil // It needs no configuration, so a broken one does not matter.
		}
		return config.Broker{}, false, withHint(err)
	}
	b, ok := l.Config.Brokers[name]
	if !ok || b.Type == config.BrokerEmbedded {
		return b, false, nil
	}
	return b, true, nil
}
