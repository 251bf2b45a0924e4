package config

import (
	"strings"
	"testing"
)

const head = "version: 1\n"

// discard is a subscription to orders with more settings after it.
func discard(more string) string {
	return head + "subscriptions:\n- {source: orders, handler: {sink: discard}" + more + "}\n"
}

// on is a subscription on a broker of a type, with more settings.
func on(brokerType, more string) string {
	return head + "brokers: {a: {type: " + brokerType + "}}\nsubscriptions:\n- {source: orders, handler: {sink: discard}, " + more + "}\n"
}

// endpoint is a subscription with an HTTP handler with more settings after its URL.
func endpoint(url, more string) string {
	return head + "subscriptions:\n- {source: orders, handler: {http: {url: '" + url + "'" + more + "}}}\n"
}

func TestRules(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, in string
		// want are the problems without their position.
		want []string
	}{
		{"two embedded", head + "brokers: {a: {type: embedded}, b: {type: embedded}}\n", []string{"brokers.b.type: there can be one embedded broker, and a is one; remove one of them, or make it a server of its own with type nats"}},
		{"broker name", head + "brokers: {A.b: {type: embedded}}\n", []string{`brokers["A.b"]: "A.b" is not a name for a broker; use lower-case letters, digits, "-" and "_", at most 63, a letter or digit first`}},
		{"broker without type", head + "brokers: {a: {}}\n", []string{"brokers.a.type: is missing; add it: embedded or nats or kafka or rabbitmq or sqs"}},
		{"empty broker", head + "brokers: {a: }\n", []string{"brokers.a.type: is missing; add it: embedded or nats or kafka or rabbitmq or sqs"}},
		{"nats without url", head + "brokers: {a: {type: nats}}\n", []string{"brokers.a.url: is missing; add it, such as url: nats://nats.example.com:4222"}},
		{"foreign setting", head + "brokers: {a: {type: nats, url: 'nats://x', sync: always}}\n", []string{"brokers.a.sync: this is a setting of a broker of type embedded; remove it, or change type"}},
		{"password in url", head + "brokers: {a: {type: nats, url: 'nats://u:planted-secret@x'}}\n", []string{"brokers.a.url: a URL must not hold a user or password, because it is logged; move them to the settings that take secrets"}},
		{"one of two urls", head + "brokers: {a: {type: nats, url: 'nats://x, planted-secret'}}\n", []string{"brokers.a.url: not a URL with one of the schemes nats, tls, ws, wss; write it as nats://host:port"}},
		{"two ways in", head + "brokers: {a: {type: nats, url: 'nats://x', token: {env: A}, nkey_file: f}}\n", []string{"brokers.a.token: nkey_file and token exclude each other; keep one of them"}},
		{"user alone", head + "brokers: {a: {type: nats, url: 'nats://x', user: u}}\n", []string{"brokers.a.user: user and password go together; give both or neither"}},
		{"certificate alone", head + "brokers: {a: {type: nats, url: 'nats://x', tls: {cert_file: f}}}\n", []string{"brokers.a.tls: cert_file and key_file go together; give both or neither"}},
		{"prefix", head + "brokers: {a: {type: nats, url: 'nats://x', prefix: a.b}}\n", []string{`brokers.a.prefix: "a.b" is not a prefix of names; use at most 32 letters, digits and "-"`}},
		{"kafka without url", head + "brokers: {a: {type: kafka}}\n", []string{"brokers.a.url: is missing; add it, such as url: kafka.example.com:9092"}},
		{"kafka with a scheme", head + "brokers: {a: {type: kafka, url: 'k:9092, kafka://u:planted-secret@k:9092'}}\n", []string{"brokers.a.url: a Kafka broker is host:port, without scheme, user and path; write it as kafka.example.com:9092; tls and sasl have sections of their own"}},
		{"kafka without a port", head + "brokers: {a: {type: kafka, url: k}}\n", []string{`brokers.a.url: "k" is not host:port; write it as kafka.example.com:9092`}},
		{"sasl without a mechanism", head + "brokers: {a: {type: kafka, url: 'k:1', sasl: {user: u}}}\n", []string{"brokers.a.sasl.mechanism: is missing; add it: plain or scram-sha-256 or scram-sha-512 or oauthbearer"}},
		{"scram without a password", head + "brokers: {a: {type: kafka, url: 'k:1', sasl: {mechanism: scram-sha-256, user: u}}}\n", []string{"brokers.a.sasl: scram-sha-256 needs user and password; add both"}},
		{"plain with a token", head + "brokers: {a: {type: kafka, url: 'k:1', tls: {}, sasl: {mechanism: plain, token: {env: T}}}}\n", []string{"brokers.a.sasl.token: plain takes user and password, and no token; remove it"}},
		{"oauthbearer without a token", head + "brokers: {a: {type: kafka, url: 'k:1', tls: {}, sasl: {mechanism: oauthbearer}}}\n", []string{`brokers.a.sasl.token: is missing; add it: write {env: NAME}, {file: path} or {cmd: "command"}`}},
		{"oauthbearer with a user", head + "brokers: {a: {type: kafka, url: 'k:1', tls: {}, sasl: {mechanism: oauthbearer, user: u, token: {env: T}}}}\n", []string{"brokers.a.sasl: oauthbearer takes a token, and neither user nor password; remove them"}},
		{"rabbitmq with a path", head + "brokers: {a: {type: rabbitmq, url: 'amqp://r/shop'}}\n", []string{"brokers.a.url: the virtual host is not part of the URL here; move it to vhost"}},
		{"rabbitmq without tls", head + "brokers: {a: {type: rabbitmq, url: 'amqp://r', tls: {}}}\n", []string{"brokers.a.tls: tls has no effect on an amqp:// URL; write amqps://, or remove tls"}},
		{"management url", head + "brokers: {a: {type: rabbitmq, url: 'amqp://r', management_url: 'r:15672'}}\n", []string{"brokers.a.management_url: not a URL with one of the schemes http, https; write it as http://host:port"}},
		{"rabbitmq user alone", head + "brokers: {a: {type: rabbitmq, url: 'amqp://r', user: u}}\n", []string{"brokers.a.user: user and password go together; give both or neither"}},
		{"sqs endpoint", head + "brokers: {a: {type: sqs, endpoint: 'localhost'}}\n", []string{"brokers.a.endpoint: not a URL with one of the schemes http, https; write it as http://host:port"}},
		{"sqs without tls", head + "brokers: {a: {type: sqs, endpoint: 'http://q', tls: {}}}\n", []string{"brokers.a.tls: tls has no effect on an http:// URL; write https://, or remove tls"}},
		{"setting of two types", head + "brokers: {a: {type: sqs, user: u}}\n", []string{"brokers.a.user: this is a setting of a broker of type nats or rabbitmq; remove it, or change type"}},
		{"marks where none are needed", head + "brokers: {a: {type: kafka, url: 'k:1', marks: {store: none}}}\n", []string{"brokers.a.marks: this is a setting of a broker of type rabbitmq or sqs; remove it, or change type"}},
		{"every broker is looked at", head + "brokers: {a: {type: kafka}, b: {type: rabbitmq}, c: {type: nats}}\n", []string{
			"brokers.a.url: is missing; add it, such as url: kafka.example.com:9092",
			"brokers.b.url: is missing; add it, such as url: amqp://rabbitmq.example.com:5672",
			"brokers.c.url: is missing; add it, such as url: nats://nats.example.com:4222",
		}},
		{"inbox in kafka", on("kafka, url: 'k:1'", "inbox: {store: kv}"), []string{"subscriptions[0].inbox.store: a broker of type kafka has no key-value buckets; use sqlite, or memory"}},
		{"second group on rabbitmq", on("rabbitmq, url: 'amqp://r'", "group: billing"), []string{"subscriptions[0].group: a queue of RabbitMQ has one consumer group: whoever consumes takes the message from all others; leave group out, bind another queue to the same exchange, and make that the source"}},
		{"second group on kafka", on("kafka, url: 'k:1'", "group: billing"), nil},
		{"rule of another broker", on("kafka, url: 'k:1'", "accept: [kafka-x, sqs-x]"), []string{`subscriptions[0].accept[1]: "sqs-x" is not a rule of a broker of type kafka; use an id as the refusal names it; it begins with kafka-`}},

		{"admin", head + "admin: {listen: localhost}\n", []string{`admin.listen: "localhost" is not an address to listen on; write host:port, such as 127.0.0.1:9090`}},
		{"admin port", head + "admin: {listen: 'localhost:70000'}\n", []string{`admin.listen: "localhost:70000" is not an address to listen on; write host:port, such as 127.0.0.1:9090`}},

		{"in flight", discard(", concurrency: 20, max_in_flight: 10"), []string{"subscriptions[0].concurrency: 20 is above max_in_flight, which is 10; lower it, or raise max_in_flight"}},
		{"base", discard(", retry: {base: 2s, max: 1s}"), []string{"subscriptions[0].retry.base: 2s is above retry.max, which is 1s; lower it, or raise retry.max"}},
		{"base above the default maximum", discard(", retry: {base: 1h}"), nil},
		{"recovery", discard(", breaker: {recovery: 2s, recovery_max: 1s}"), []string{"subscriptions[0].breaker.recovery: 2s is above breaker.recovery_max, which is 1s; lower it, or raise breaker.recovery_max"}},
		{"recovery above the default maximum", discard(", breaker: {recovery: 1m}"), nil},
		{"probes", discard(", concurrency: 2, breaker: {probes: 3}"), []string{"subscriptions[0].breaker.probes: 3 is above concurrency, which is 2; lower it, or raise concurrency"}},
		{"lone hold", discard(", lone_hold: 2h, retry: {max_age: 1h}"), []string{"subscriptions[0].lone_hold: 2h is above retry.max_age, which is 1h; lower it, or raise retry.max_age"}},
		{"short age alone", discard(", retry: {max_age: 1m}"), nil},
		{"tier upside down", discard(", retry: {tiers: [{from: 3, to: 2}]}"), []string{"subscriptions[0].retry.tiers[0].to: 2 is below from, which is 3; raise it, or remove it for no end"}},
		{"tier after the end", discard(", retry: {attempts: 3, tiers: [{from: 3}]}"), []string{"subscriptions[0].retry.tiers[0].from: no retry follows failure 3, because retry.attempts is 3; lower it, or raise the attempts"}},
		{"tier never used", discard(", retry: {tiers: [{to: 4}, {from: 2, to: 3, category: crash}]}"), []string{"subscriptions[0].retry.tiers[1]: never used: tier 1 covers all of it and comes first; put the narrower tier first, or remove it"}},
		{"tiers of two categories", discard(", retry: {tiers: [{category: crash}, {category: transient}, {to: 2}]}"), nil},
		{"tier base", discard(", retry: {tiers: [{base: 1m}]}"), []string{"subscriptions[0].retry.tiers[0].base: 1m is above max, which is 30s; lower it, or raise max"}},
		{"idempotency header", discard(", idempotency_header: 'a b'"), []string{`subscriptions[0].idempotency_header: "a b" is not the name of a header; use letters, digits and "-", such as X-Event-Id`}},

		{"no source", head + "subscriptions: [{handler: {sink: discard}}]\n", []string{"subscriptions[0].source: is missing; add it, such as source: orders"}},
		{"no handler", head + "subscriptions: [{source: orders}]\n", []string{"subscriptions[0].handler: is missing; add it, such as handler: {sink: discard}"}},
		{"two handlers", head + "subscriptions: [{source: a, handler: {sink: discard, http: {url: 'http://x'}}}]\n", []string{"subscriptions[0].handler.sink: http and sink exclude each other; keep one of them"}},
		{"other sink", head + "subscriptions: [{source: a, handler: {sink: disard}}]\n", []string{`subscriptions[0].handler.sink: "disard" is not one of discard; did you mean "discard"?`}},
		{"source with wildcard", head + "subscriptions: [{source: 'orders.>', handler: {sink: discard}}]\n", []string{`subscriptions[0].source: "orders.>" holds white space, a control character, "*" or ">"; write the name of one queue`}},
		{"long source", head + "subscriptions: [{source: " + strings.Repeat("a", 201) + ", handler: {sink: discard}}]\n", []string{"subscriptions[0].source: the name is longer than 200 bytes; shorten it"}},
		{"same twice", head + "subscriptions: [{source: a, handler: &h {sink: discard}}, {source: a, group: default, handler: *h}]\n", []string{"subscriptions[1].source: subscriptions[0] has the same broker, source and group; remove one of them, or give this one a group of its own"}},
		{"same source, other group", head + "subscriptions: [{source: a, handler: &h {sink: discard}}, {source: a, group: b, handler: *h}]\n", nil},
		{"own retry queue", head + "subscriptions: [{source: a.retry, handler: &h {sink: discard}}, {source: a, handler: *h}]\n", []string{`subscriptions[0].source: "a.retry" is the retry queue of another subscription; rename one of the sources; redrive consumes its own queues by itself`}},
		{"own quarantine", head + "subscriptions: [{source: a--b.dlq.quarantine.crash, handler: &h {sink: discard}}, {source: a, group: b, handler: *h}]\n", []string{`subscriptions[0].source: "a--b.dlq.quarantine.crash" is the quarantine of another subscription; rename one of the sources; redrive consumes its own queues by itself`}},
		{"no such broker", discard(", broker: locl"), []string{`subscriptions[0].broker: there is no broker "locl"; did you mean local?`}},
		{"which broker", head + "brokers: {a: {type: nats, url: &u 'nats://x'}, b: {type: nats, url: *u}}\nsubscriptions: [{source: a, handler: {sink: discard}}]\n", []string{"subscriptions[0].broker: is missing, and there are several brokers; add it: one of a, b"}},
		{"the only broker", head + "brokers: {a: {type: nats, url: 'nats://x'}}\nsubscriptions: [{source: a, handler: {sink: discard}}]\n", nil},

		{"url", endpoint("orders", ""), []string{"subscriptions[0].handler.http.url: not a URL with one of the schemes http, https; write it as http://host:port"}},
		{"url port", endpoint("http://h:99999", ""), []string{"subscriptions[0].handler.http.url: the port is not a number from 1 to 65535; correct it"}},
		{"url fragment", endpoint("http://h/#x", ""), []string{"subscriptions[0].handler.http.url: a URL that receives requests has no fragment; remove # and what follows"}},
		{"tls without https", endpoint("http://h", ", tls: {ca_file: f}"), []string{"subscriptions[0].handler.http.tls: tls has no effect on an http:// URL; write https://, or remove tls"}},
		{"timeout", endpoint("http://h", ", timeout: 31s"), []string{"subscriptions[0].handler.http.timeout: 31s is above handler_timeout, which is 30s; lower it, or raise handler_timeout"}},
		{"no auth", endpoint("http://h", ", auth: {}"), []string{"subscriptions[0].handler.http.auth: one of bearer, basic is missing; add exactly one of them"}},
		{"basic without password", endpoint("https://h", ", auth: {basic: {user: u}}"), []string{`subscriptions[0].handler.http.auth.basic.password: is missing; add it: write {env: NAME}, {file: path} or {cmd: "command"}`}},
		{"two auths", endpoint("https://h", ", auth: {bearer: {env: A}, basic: {user: u, password: {env: P}}}"), []string{"subscriptions[0].handler.http.auth.basic: bearer and basic exclude each other; keep one of them"}},
		{"status", endpoint("http://h", ", statuses: {600: done, 4XX: done}"), []string{
			`subscriptions[0].handler.http.statuses["600"]: "600" is not a status; write one such as "409", or a hundred such as "5xx"`,
			`subscriptions[0].handler.http.statuses["4XX"]: "4XX" is not a status; write one such as "409", or a hundred such as "5xx"`,
		}},
		{"headers", endpoint("http://h", `, headers: {Redrive-Attempt: a, Cookie: b, X-Bad: "a\r\nb"}`), []string{
			"subscriptions[0].handler.http.headers.Redrive-Attempt: redrive or the connection itself sets this header; remove it",
			"subscriptions[0].handler.http.headers.Cookie: a header that holds a credential is not written here in plain text; move it to auth or secret_headers",
			"subscriptions[0].handler.http.headers.X-Bad: the value holds a line break or NUL; write it on one line",
		}},
		{"header twice", endpoint("http://localhost", ", headers: {X-A: a}, secret_headers: {x-a: {env: A}}"), []string{"subscriptions[0].handler.http.secret_headers.x-a: the header is in headers too; remove one of them"}},
		{"authorization twice", endpoint("https://h", ", auth: {bearer: {env: A}}, secret_headers: {Authorization: {env: A}}"), []string{"subscriptions[0].handler.http.secret_headers.Authorization: auth sends this header too; remove one of them"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := Decode("redrive.yaml", []byte(tt.in))
			checkProblems(t, withoutPositions(t, err), tt.want)
		})
	}
}

// withoutPositions checks that every problem has a place in the file, and takes
// it away.
func withoutPositions(t *testing.T, err error) error {
	t.Helper()
	invalid, ok := err.(*InvalidError) //nolint:errorlint // Decode returns it bare.
	if !ok {
		return err
	}
	out := &InvalidError{}
	for _, p := range invalid.Problems {
		if p.Origin.Source != FromFile || p.Origin.Line < 2 || p.Origin.Column < 1 {
			t.Errorf("no place for %v", p)
		}
		p.Origin = Origin{}
		out.Problems = append(out.Problems, p)
	}
	return out
}

func TestProblemStandsWhereItWasWritten(t *testing.T) {
	t.Parallel()
	_, err := Decode("redrive.yaml", []byte(lines(
		"version: 1", // 1
		"defaults:",
		"  retry:",
		"    base: 2s", // 4
		"    max: 1s",
		"  concurrency: 4",
		"subscriptions:",
		"  - source: a", // 8
		"    handler: {sink: discard}",
		"  - source: b",
		"    handler: {sink: discard}",
		"    retry: {max: 500ms}", // 12
		"  - source: c",
		"    handler: {sink: discard}",
		"    max_in_flight: 3", // 15
	)))
	checkProblems(t, err, []string{
		"redrive.yaml:4:5: defaults.retry.base: 2s is above retry.max, which is 1s; lower it, or raise retry.max",
		"redrive.yaml:4:5: subscriptions[1].retry.base: 2s is above retry.max, which is 500ms; lower it, or raise retry.max",
		"redrive.yaml:6:3: subscriptions[2].concurrency: 4 is above max_in_flight, which is 3; lower it, or raise max_in_flight",
	})
}

// TestOneMistakeIsOneProblem checks that no rule speaks about a setting that
// could not be read.
func TestOneMistakeIsOneProblem(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		discard(", concurrency: x, max_in_flight: 3"),
		discard(", max_in_flight: 3, concurrency: 0"),
		discard(", retry: {max: 1, base: 2m}"),
		discard(", retry: [], lone_hold: 20h"),
		head + "subscriptions: [{source: a, handler: {http: 1}}]\n",
		head + "subscriptions: [{source: a, handler: 1}]\n",
		head + "subscriptions: [{source: 1, handler: {sink: discard}}]\n",
		head + "brokers: {a: {type: nts, url: 'nats://x'}}\n",
		head + "brokers: {a: {type: nats, url: 'nats://x', user: u, password: p}}\n",
		head + "defaults: {concurrency: 0}\nsubscriptions: [{source: a, max_in_flight: 3, handler: {sink: discard}}]\n",
	} {
		_, err := Decode("redrive.yaml", []byte(in))
		if err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s\n%v", in, err)
		}
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, in, want string }{
		{"short lease", discard(", lease: 10s"), "redrive.yaml:3:46: subscriptions[0].lease: warning: 10s is below handler_timeout, which is 30s: a process that cannot reach the broker for a lease loses a message that its handler still runs on, and it runs twice; raise it to at least handler_timeout, unless handlers are idempotent"},
		{"lease as long", discard(", lease: 30s"), ""},
		{"poison", discard(", retry: {attempts: 2}, poison: {threshold: 3}"), "redrive.yaml:3:77: subscriptions[0].poison.threshold: warning: 3 is above retry.attempts, which is 2: only a message that was replayed can reach it; lower it to at most the attempts"},
		{"few attempts", discard(", retry: {attempts: 2}"), ""},
		{"breaker off", discard(", breaker: {consecutive: -1, failure_rate: -1}"), "redrive.yaml:3:46: subscriptions[0].breaker: warning: both rules are off, so the breaker opens only when the downstream asks for less traffic: an outage uses up attempts; keep consecutive or failure_rate"},
		{"literal", endpoint("https://h", ", auth: {bearer: {value: planted-secret}}"), `redrive.yaml:3:62: subscriptions[0].handler.http.auth.bearer: warning: the secret stands in the file, for everyone who can read it; move it out: {env: NAME}, {file: path} or {cmd: "command"}`},
		{"credentials in the clear", endpoint("http://h", ", auth: {bearer: {env: A}}"), "redrive.yaml:3:37: subscriptions[0].handler.http.url: warning: credentials travel over http:// where others can read them; write https://"},
		{"plain in the clear", head + "brokers: {a: {type: kafka, url: 'k:1', sasl: {mechanism: plain, user: u, password: {env: P}}}}\n", "redrive.yaml:2:47: brokers.a.sasl.mechanism: warning: plain sends the credentials where others can read them; add the section tls"},
		{"plain to this machine", head + "brokers: {a: {type: kafka, url: '127.0.0.1:1', sasl: {mechanism: plain, user: u, password: {env: P}}}}\n", ""},
		{"rabbitmq with an inbox and no key", on("rabbitmq, url: 'amqp://r'", "inbox: {store: sqlite}"), "redrive.yaml:4:54: subscriptions[0].inbox.store: warning: RabbitMQ gives messages no identity, so that only those with a message id have a key that the inbox knows again; see that producers set the message id, or name a header with idempotency_header"},
		{"rabbitmq with an inbox and a key", on("rabbitmq, url: 'amqp://r'", "inbox: {store: sqlite}, idempotency_header: X-Id"), ""},
		{"credentials to this machine", endpoint("http://[::1]:80", ", auth: {bearer: {env: A}}"), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var warnings []string
			for _, w := range decodeValid(t, tt.in).Warnings {
				warnings = append(warnings, w.Error())
			}
			if got := strings.Join(warnings, "\n"); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestValidateInGo(t *testing.T) {
	t.Parallel()
	if err := (Config{}).Validate(); err != nil {
		t.Errorf("the zero value: %v", err)
	}
	c := Config{
		Log:           Log{Level: "loud"},
		Brokers:       map[string]Broker{"a": {Type: BrokerNATS, Replicas: 9}},
		Subscriptions: []Subscription{{Source: "a"}},
	}
	const want = `log.level: "loud" is not one of debug, info, warn, error; use one of them
brokers.a.url: is missing; add it, such as url: nats://nats.example.com:4222
brokers.a.replicas: 9 is above the largest allowed value 5; lower it
subscriptions[0].handler: is missing; add it, such as handler: {sink: discard}`
	if err := c.Validate(); err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	if len(c.Brokers) != 1 || c.Brokers["a"].Prefix != "" {
		t.Error("Validate changed its receiver")
	}
}
