package config

// The types of brokers.
const (
	BrokerEmbedded = "embedded"
	BrokerNATS     = "nats"
	BrokerKafka    = "kafka"
	BrokerRabbitMQ = "rabbitmq"
	BrokerSQS      = "sqs"
)

// DefaultBroker is the name of the embedded broker that is used when none is
// configured.
const DefaultBroker = "local"

// Broker is one broker. Which settings it takes depends on its type.
type Broker struct {
	// Type is embedded for the JetStream server inside this process, at most one,
	// nats for a NATS server or cluster with JetStream, kafka, rabbitmq, or sqs for
	// Amazon SQS and what speaks its protocol.
	Type string `yaml:"type" required:"true" enum:"embedded,nats,kafka,rabbitmq,sqs"`
	// Sync is when the embedded broker makes writes durable: always before it
	// confirms them, or default, in batches every two minutes, which is faster and
	// loses the newest messages when the machine loses power. Default: always.
	Sync string `yaml:"sync" for:"embedded" default:"always" enum:"always,default"`
	// MaxStore is the most that the embedded broker stores on disk. When it is
	// full, publishers are refused and nothing is dropped. Default: 10GiB.
	MaxStore Size `yaml:"max_store" for:"embedded" default:"10GiB" min:"64MiB"`
	// URL is the server, or several separated by commas: nats://host:port,
	// amqp://host:port, amqps://host:port for RabbitMQ with TLS, or host:port for
	// Kafka. It carries no user and no password: those have settings of their own.
	URL string `yaml:"url" for:"nats,kafka,rabbitmq" required:"true" example:"nats://nats.example.com:4222"`
	// ManagementURL is RabbitMQ's management plugin. With it redrive sees how queues
	// are set, and refuses those that lose messages; without, it sees less of them.
	ManagementURL string `yaml:"management_url" for:"rabbitmq" example:"http://rabbitmq.example.com:15672"`
	// Vhost is the virtual host. Default: /.
	Vhost string `yaml:"vhost" for:"rabbitmq" default:"/"`
	// Protocol is what is spoken with RabbitMQ: AMQP 1.0 with servers that have it
	// and 0-9-1 with older ones (auto), or one of them always. Default: auto.
	Protocol string `yaml:"protocol" for:"rabbitmq" default:"auto" enum:"auto,0-9-1,amqp-1.0"`
	// Region is the AWS region. Without it the one of the environment or of the AWS
	// profile is used.
	Region string `yaml:"region" for:"sqs" example:"eu-central-1"`
	// Endpoint is where another server than AWS speaks the protocol of SQS.
	Endpoint string `yaml:"endpoint" for:"sqs" example:"http://127.0.0.1:9324"`
	// Token authenticates by token.
	Token Secret `yaml:"token" for:"nats"`
	// User authenticates by name, with password. For RabbitMQ it is guest, with the
	// password guest, if nothing is given.
	User string `yaml:"user" for:"nats,rabbitmq"`
	// Password belongs to user.
	Password Secret `yaml:"password" for:"nats,rabbitmq"`
	// CredsFile is a file with a user JWT and its NKey seed.
	CredsFile Path `yaml:"creds_file" for:"nats"`
	// NKeyFile is a file with an NKey seed.
	NKeyFile Path `yaml:"nkey_file" for:"nats"`
	// SASL authenticates with Kafka.
	SASL *SASL `yaml:"sasl" for:"kafka"`
	// TLS secures the connection. For Kafka it is what turns TLS on; for the others
	// it adds to what the scheme of the address does.
	TLS *TLS `yaml:"tls" for:"nats,kafka,rabbitmq,sqs"`
	// Replicas is how many servers of the cluster keep each stream that redrive
	// creates. Default: 1.
	Replicas int `yaml:"replicas" for:"nats" default:"1" min:"1" max:"5"`
	// Prefix is the name space of what redrive creates, so that two installations can
	// share an account: of streams and subjects with NATS, of the queues for outcomes
	// and heartbeats with SQS. Default: redrive.
	Prefix string `yaml:"prefix" for:"nats,sqs" default:"redrive"`
	// ReplicationFactor is how many Kafka brokers keep each topic that redrive creates.
	ReplicationFactor int `yaml:"replication_factor" for:"kafka" defaulttext:"the cluster's default" min:"1" max:"32767"`
	// MinInsyncReplicas is min.insync.replicas of the topics that redrive creates.
	MinInsyncReplicas int `yaml:"min_insync_replicas" for:"kafka" defaulttext:"the cluster's default" min:"1" max:"32767"`
	// Partitions are those of a source topic that redrive creates. What belongs to a
	// source has as many as it. Default: 1.
	Partitions int `yaml:"partitions" for:"kafka" default:"1" min:"1" max:"100000"`
	// Order is what is kept in order: nothing, so that a retry lets later messages
	// overtake it, or the messages of one key (key), which then wait behind it.
	// Default: none.
	Order string `yaml:"order" for:"kafka" default:"none" enum:"none,key"`
	// SessionTimeout is how long the partitions of a Kafka consumer wait for it when it
	// does not answer. Default: 45s.
	SessionTimeout Duration `yaml:"session_timeout" for:"kafka" default:"45s" min:"1s" max:"30m"`
	// ConsumerTimeout is what RabbitMQ is set to under the same name: how long it
	// leaves a message with a worker. The server does not tell it. Default: 30m.
	ConsumerTimeout Duration `yaml:"consumer_timeout" for:"rabbitmq" default:"30m" min:"10s" max:"365d"`
	// Marks say where redrive notes which messages were being handled when a process
	// died, for brokers that cannot keep such a note themselves.
	Marks Marks `yaml:"marks" for:"rabbitmq,sqs"`
}

// Marks are the notes by which a message that kills its process is recognised.
type Marks struct {
	// Store is an SQLite database in data_dir, or none. Without one a message that
	// kills its process is handled again and again. Workers on different machines
	// have different databases, so that a killer which goes round is found later.
	// Default: sqlite.
	Store string `yaml:"store" default:"sqlite" enum:"none,sqlite"`
}

// SASL authenticates with Kafka.
type SASL struct {
	// Mechanism is how: plain, scram-sha-256 and scram-sha-512 take user and
	// password, oauthbearer a token. Use plain over TLS only.
	Mechanism string `yaml:"mechanism" required:"true" enum:"plain,scram-sha-256,scram-sha-512,oauthbearer"`
	// User is the name.
	User string `yaml:"user"`
	// Password belongs to user.
	Password Secret `yaml:"password"`
	// Token is the bearer token. It is read again for each connection, so that a
	// command or a file can give a fresh one.
	Token Secret `yaml:"token"`
}

func (b Broker) clone() Broker {
	b.TLS = clonePointer(b.TLS)
	b.SASL = clonePointer(b.SASL)
	return b
}

// exampleURL is what url looks like for the broker's type.
func (b Broker) exampleURL() string {
	switch b.Type {
	case BrokerKafka:
		return "kafka.example.com:9092"
	case BrokerRabbitMQ:
		return "amqp://rabbitmq.example.com:5672"
	}
	return "nats://nats.example.com:4222"
}

// HasKV reports whether the broker has key-value buckets, in which an inbox can
// lie.
func (b Broker) HasKV() bool { return b.Type == BrokerEmbedded || b.Type == BrokerNATS }

// rulePrefix is what the ids of the rules of the broker begin with.
func (b Broker) rulePrefix() string {
	if b.Type == BrokerEmbedded {
		return BrokerNATS + "-"
	}
	return b.Type + "-"
}
