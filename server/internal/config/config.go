package config

import "slices"

// Version is the version of the file format that this package reads.
const Version = 1

// Config is everything that can be set. The zero value, with its defaults
// filled in, is a worker with an embedded broker and no subscription.
type Config struct {
	// Version is the version of the file format.
	Version int `yaml:"version" required:"true" enum:"1"`
	// DataDir is the folder for everything that redrive keeps on this machine: the
	// embedded broker, the catalogue, tokens. Default: ./redrive-data.
	DataDir Path `yaml:"data_dir" default:"./redrive-data"`
	// Admin is the endpoint for health, readiness and metrics.
	Admin Admin `yaml:"admin"`
	// Log says how redrive reports on itself, on standard error.
	Log Log `yaml:"log"`
	// Brokers are the brokers by name. A name has lower-case letters, digits, "-"
	// and "_". Without any, one embedded broker named local is used.
	Brokers map[string]Broker `yaml:"brokers"`
	// Defaults are the policy settings of every subscription that does not set
	// them itself, key by key.
	Defaults Policy `yaml:"defaults"`
	// Subscriptions say what is consumed, by which handler and under which policy.
	Subscriptions []Subscription `yaml:"subscriptions"`
}

// Admin is the endpoint for health, readiness and metrics.
type Admin struct {
	// Listen is the address to listen on, host:port. Port 0 takes a free one.
	// There is no authentication: do not expose it. Default: 127.0.0.1:9090.
	Listen string `yaml:"listen" default:"127.0.0.1:9090" example:"127.0.0.1:9090"`
}

// Log says how redrive reports on itself.
type Log struct {
	// Level is the least important level that is logged. Default: info.
	Level string `yaml:"level" default:"info" enum:"debug,info,warn,error"`
	// Format is text for people or json for machines. Default: text.
	Format string `yaml:"format" default:"text" enum:"text,json"`
}

// The types of brokers.
const (
	BrokerEmbedded = "embedded"
	BrokerNATS     = "nats"
)

// DefaultBroker is the name of the embedded broker that is used when none is
// configured.
const DefaultBroker = "local"

// Broker is one broker. Which settings it takes depends on its type.
type Broker struct {
	// Type is embedded for the JetStream server inside this process, at most one,
	// or nats for a NATS server or cluster with JetStream.
	Type string `yaml:"type" required:"true" enum:"embedded,nats"`
	// Sync is when the embedded broker makes writes durable: always before it
	// confirms them, or default, in batches every two minutes, which is faster and
	// loses the newest messages when the machine loses power. Default: always.
	Sync string `yaml:"sync" for:"embedded" default:"always" enum:"always,default"`
	// MaxStore is the most that the embedded broker stores on disk. When it is
	// full, publishers are refused and nothing is dropped. Default: 10GiB.
	MaxStore Size `yaml:"max_store" for:"embedded" default:"10GiB" min:"64MiB"`
	// URL is the server, or several separated by commas. It carries no user and
	// no password: those have settings of their own.
	URL string `yaml:"url" for:"nats" required:"true" example:"nats://nats.example.com:4222"`
	// Token authenticates by token.
	Token Secret `yaml:"token" for:"nats"`
	// User authenticates by name, with password.
	User string `yaml:"user" for:"nats"`
	// Password belongs to user.
	Password Secret `yaml:"password" for:"nats"`
	// CredsFile is a file with a user JWT and its NKey seed.
	CredsFile Path `yaml:"creds_file" for:"nats"`
	// NKeyFile is a file with an NKey seed.
	NKeyFile Path `yaml:"nkey_file" for:"nats"`
	// TLS secures the connection, beyond what the scheme tls:// does.
	TLS *TLS `yaml:"tls" for:"nats"`
	// Replicas is how many servers of the cluster keep each stream that redrive
	// creates. Default: 1.
	Replicas int `yaml:"replicas" for:"nats" default:"1" min:"1" max:"5"`
	// Prefix is the name space of the streams and subjects that redrive creates,
	// so that two installations can share an account. Default: redrive.
	Prefix string `yaml:"prefix" for:"nats" default:"redrive"`
}

// TLS secures a connection.
type TLS struct {
	// CAFile holds the certificates that are trusted, in PEM form, in place of
	// those of the system.
	CAFile Path `yaml:"ca_file"`
	// CertFile is the own certificate, in PEM form. It goes with key_file.
	CertFile Path `yaml:"cert_file"`
	// KeyFile is the key of the own certificate, in PEM form.
	KeyFile Path `yaml:"key_file"`
	// ServerName is the name that the server's certificate must have, if it is not
	// the one in the URL.
	ServerName string `yaml:"server_name"`
}

// Subscription is a source, consumed under a consumer group by one handler.
type Subscription struct {
	// Source is the queue, topic or stream to consume.
	Source string `yaml:"source" required:"true" example:"orders"`
	// Group is the consumer group. Default: default.
	Group string `yaml:"group" default:"default"`
	// Broker is the name of one of the brokers. It must be given if there are
	// several and none is embedded.
	Broker string `yaml:"broker" defaulttext:"the embedded broker, else the only one"`
	// Handler is what is run for every message: exactly one of its settings.
	Handler Handler `yaml:"handler" required:"true" example:"{sink: discard}"`
	// Schema is checked before the handler; a message that does not match is
	// dead-lettered as schema.
	Schema *Schema `yaml:"schema"`
	// Policy holds the settings that the defaults section can give too.
	Policy `yaml:",inline"`
}

// Schema says which form the bodies of a source have.
type Schema struct {
	// File is a JSON Schema, draft 2020-12 unless its $schema names another.
	File Path `yaml:"file" required:"true" example:"order.schema.json"`
}

// Inbox remembers which messages were handled, so that a repeated one is not
// handled twice.
type Inbox struct {
	// Store is where it remembers: nowhere, in memory until the process ends, in
	// an SQLite database in data_dir, or in a key-value bucket of the
	// subscription's broker (kv), which all workers share. Default: none.
	Store string `yaml:"store" default:"none" enum:"none,memory,sqlite,kv"`
}

// Clone returns a copy that shares nothing with the original.
func (c Config) Clone() Config {
	if c.Brokers != nil {
		brokers := make(map[string]Broker, len(c.Brokers))
		for name, b := range c.Brokers {
			b.TLS = clonePointer(b.TLS)
			brokers[name] = b
		}
		c.Brokers = brokers
	}
	c.Defaults = c.Defaults.clone()
	c.Subscriptions = slices.Clone(c.Subscriptions)
	for i := range c.Subscriptions {
		s := &c.Subscriptions[i]
		s.Handler = s.Handler.clone()
		s.Schema = clonePointer(s.Schema)
		s.Policy = s.Policy.clone()
	}
	return c
}

func clonePointer[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}
