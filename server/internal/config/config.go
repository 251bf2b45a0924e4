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
	// Accept names rules of the broker that its queues may break. Each stands for a
	// way to lose messages, which is then yours: docs/brokers.md lists them.
	Accept []string `yaml:"accept" example:"[kafka-dlq-retention]"`
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
	// subscription's broker (kv), which all workers share and only the types
	// embedded and nats have. Default: none.
	Store string `yaml:"store" default:"none" enum:"none,memory,sqlite,kv"`
}

// Clone returns a copy that shares nothing with the original.
func (c Config) Clone() Config {
	if c.Brokers != nil {
		brokers := make(map[string]Broker, len(c.Brokers))
		for name, b := range c.Brokers {
			brokers[name] = b.clone()
		}
		c.Brokers = brokers
	}
	c.Defaults = c.Defaults.clone()
	c.Subscriptions = slices.Clone(c.Subscriptions)
	for i := range c.Subscriptions {
		s := &c.Subscriptions[i]
		s.Handler = s.Handler.clone()
		s.Schema = clonePointer(s.Schema)
		s.Accept = slices.Clone(s.Accept)
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
