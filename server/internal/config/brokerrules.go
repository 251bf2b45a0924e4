package config

import (
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/redrive-dev/redrive/broker"
)

// brokers checks the brokers among themselves.
func (k *checker) brokers(c Config) {
	embedded := ""
	for _, name := range slices.Sorted(maps.Keys(c.Brokers)) {
		b, path := c.Brokers[name], keyPath("brokers", name)
		if !brokerName(name) {
			k.broken(path, quoted(name)+" is not a name for a broker", `use lower-case letters, digits, "-" and "_", at most 63, a letter or digit first`)
		}
		switch b.Type {
		case BrokerEmbedded:
			if embedded != "" {
				k.broken(keyPath(path, "type"), fmt.Sprintf("there can be one embedded broker, and %s is one", embedded), "remove one of them, or make it a server of its own with type nats", keyPath(keyPath("brokers", embedded), "type"))
			}
			embedded = name
		case BrokerNATS:
			k.nats(b, path)
		case BrokerKafka:
			k.kafka(b, path)
		case BrokerRabbitMQ:
			k.rabbitmq(b, path)
		case BrokerSQS:
			k.sqs(b, path)
		}
	}
}

func brokerName(name string) bool {
	if name == "" || len(name) > 63 || name[0] == '-' || name[0] == '_' {
		return false
	}
	for i := range len(name) {
		c := name[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}

func (k *checker) nats(b Broker, path string) {
	k.urls(b.URL, path, "nats", "tls", "ws", "wss")
	k.prefix(b.Prefix, path)
	var ways []string
	for name, given := range map[string]bool{"token": !b.Token.IsZero(), "user": b.User != "" || !b.Password.IsZero(), "creds_file": b.CredsFile != "", "nkey_file": b.NKeyFile != ""} {
		if given {
			ways = append(ways, name)
		}
	}
	if len(ways) > 1 {
		slices.Sort(ways)
		k.broken(keyPath(path, ways[1]), strings.Join(ways, " and ")+" exclude each other", "keep one of them")
	}
	k.userAndPassword(b.User, b.Password, path)
	k.tls(b.TLS, keyPath(path, "tls"))
}

// urls checks a list of addresses that are separated by commas.
func (k *checker) urls(list, path string, schemes ...string) []*url.URL {
	var out []*url.URL
	for _, one := range addresses(list) {
		if u := k.url(one, keyPath(path, "url"), schemes...); u != nil {
			out = append(out, u)
		}
	}
	return out
}

// addresses splits a list at its commas.
func addresses(list string) []string {
	if list == "" {
		return nil
	}
	out := strings.Split(list, ",")
	for i := range out {
		out[i] = strings.TrimSpace(out[i])
	}
	return out
}

// Addresses are the parts of url.
func (b Broker) Addresses() []string { return addresses(b.URL) }

func (k *checker) userAndPassword(user string, password Secret, path string) {
	if (user == "") != password.IsZero() {
		k.broken(keyPath(path, "user"), "user and password go together", "give both or neither", keyPath(path, "password"))
	}
}

func (k *checker) kafka(b Broker, path string) {
	for _, one := range b.Addresses() {
		host, port, err := net.SplitHostPort(one)
		switch {
		// The address is not shown: whoever writes a URL may write a password in it.
		case strings.ContainsAny(one, "@/"):
			k.broken(keyPath(path, "url"), "a Kafka broker is host:port, without scheme, user and path", "write it as "+b.exampleURL()+"; tls and sasl have sections of their own")
		case err != nil || host == "" || !validPort(port):
			k.broken(keyPath(path, "url"), quoted(one)+" is not host:port", "write it as "+b.exampleURL())
		}
	}
	if b.SASL != nil {
		k.sasl(*b.SASL, b, keyPath(path, "sasl"))
	}
	k.tls(b.TLS, keyPath(path, "tls"))
}

func (k *checker) sasl(s SASL, b Broker, path string) {
	byToken := s.Mechanism == "oauthbearer"
	switch {
	case s.Mechanism == "":
	case byToken && s.Token.IsZero():
		k.broken(keyPath(path, "token"), "is missing", "add it: "+secretHint)
	case byToken && (s.User != "" || !s.Password.IsZero()):
		k.broken(path, "oauthbearer takes a token, and neither user nor password", "remove them")
	case !byToken && !s.Token.IsZero():
		k.broken(keyPath(path, "token"), s.Mechanism+" takes user and password, and no token", "remove it", keyPath(path, "mechanism"))
	case !byToken && (s.User == "" || s.Password.IsZero()):
		k.broken(path, s.Mechanism+" needs user and password", "add both", keyPath(path, "mechanism"))
	}
	if b.TLS == nil && (s.Mechanism == "plain" || byToken) && !slices.ContainsFunc(b.Addresses(), isLoopbackAddress) {
		k.warn(keyPath(path, "mechanism"), s.Mechanism+" sends the credentials where others can read them", "add the section tls", keyPath(path, "mechanism"))
	}
}

func isLoopbackAddress(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err == nil && loopback(host)
}

func (k *checker) rabbitmq(b Broker, path string) {
	for _, u := range k.urls(b.URL, path, "amqp", "amqps") {
		if u.Path != "" && u.Path != "/" {
			k.broken(keyPath(path, "url"), "the virtual host is not part of the URL here", "move it to vhost", keyPath(path, "vhost"))
		}
		if b.TLS != nil && u.Scheme == "amqp" {
			k.broken(keyPath(path, "tls"), "tls has no effect on an amqp:// URL", "write amqps://, or remove tls", keyPath(path, "url"))
		}
	}
	if b.ManagementURL != "" {
		k.url(b.ManagementURL, keyPath(path, "management_url"), "http", "https")
	}
	k.userAndPassword(b.User, b.Password, path)
	k.tls(b.TLS, keyPath(path, "tls"))
}

func (k *checker) sqs(b Broker, path string) {
	if b.Endpoint != "" {
		if u := k.url(b.Endpoint, keyPath(path, "endpoint"), "http", "https"); u != nil && u.Scheme == "http" && b.TLS != nil {
			k.broken(keyPath(path, "tls"), "tls has no effect on an http:// URL", "write https://, or remove tls", keyPath(path, "endpoint"))
		}
	}
	k.prefix(b.Prefix, path)
	k.tls(b.TLS, keyPath(path, "tls"))
}

// brokerOf checks what a subscription asks of its broker.
func (k *checker) brokerOf(b Broker, s Subscription, path string) {
	if s.Inbox.Store == "kv" && !b.HasKV() {
		k.broken(path+".inbox.store", "a broker of type "+b.Type+" has no key-value buckets", "use sqlite, or memory", keyPath(path, "broker"))
	}
	if b.Type == BrokerRabbitMQ && s.Group != broker.DefaultGroup {
		k.broken(keyPath(path, "group"), "a queue of RabbitMQ has one consumer group: whoever consumes takes the message from all others",
			"leave group out, bind another queue to the same exchange, and make that the source", keyPath(path, "broker"))
	}
	if b.Type == BrokerRabbitMQ && s.Inbox.Store != "none" && s.IdempotencyHeader == "" {
		k.warn(path+".inbox.store", "RabbitMQ gives messages no identity, so that only those with a message id have a key that the inbox knows again",
			"see that producers set the message id, or name a header with idempotency_header", keyPath(path, "idempotency_header"))
	}
	for i, rule := range s.Accept {
		if b.Type != "" && !strings.HasPrefix(rule, b.rulePrefix()) {
			k.broken(indexPath(keyPath(path, "accept"), i), quoted(rule)+" is not a rule of a broker of type "+b.Type, "use an id as the refusal names it; it begins with "+b.rulePrefix(), keyPath(path, "broker"))
		}
	}
}

func (k *checker) prefix(prefix, path string) {
	if strings.ContainsFunc(prefix, notPrefixRune) || len(prefix) > 32 {
		k.broken(keyPath(path, "prefix"), quoted(prefix)+" is not a prefix of names", `use at most 32 letters, digits and "-"`)
	}
}

func notPrefixRune(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-')
}

func (k *checker) tls(t *TLS, path string) {
	if t != nil && (t.CertFile == "") != (t.KeyFile == "") {
		k.broken(path, "cert_file and key_file go together", "give both or neither")
	}
}
