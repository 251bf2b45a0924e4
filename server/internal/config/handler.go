package config

import (
	"maps"
	"slices"
)

// SinkDiscard is the sink that takes every message and does nothing.
const SinkDiscard = "discard"

// Handler is what is run for every message. Exactly one setting is given.
type Handler struct {
	// HTTP posts every message to an endpoint and reads the verdict from the
	// status of the answer.
	HTTP *HTTP `yaml:"http" oneof:"handler"`
	// Sink handles every message without a call: discard, for trying out.
	Sink string `yaml:"sink" oneof:"handler" enum:"discard"`
}

// HTTP is an endpoint that handles messages.
type HTTP struct {
	// URL receives a POST for every message.
	URL string `yaml:"url" required:"true" example:"http://127.0.0.1:8080/orders"`
	// Timeout bounds one request, from the connection to the end of the answer. It
	// is never longer than handler_timeout.
	Timeout Duration `yaml:"timeout" defaulttext:"handler_timeout" min:"1ms" max:"24h"`
	// Auth authenticates the requests.
	Auth *Auth `yaml:"auth"`
	// HMAC signs the requests as Standard Webhooks describes it.
	HMAC *HMAC `yaml:"hmac"`
	// TLS says whom to trust and presents an own certificate.
	TLS *TLS `yaml:"tls"`
	// MaxIdleConns is how many connections are kept open between requests.
	MaxIdleConns int `yaml:"max_idle_conns" defaulttext:"concurrency" min:"1" max:"10000"`
	// Statuses overrides what a status of the answer means. Keys are "409" or, for
	// a hundred at once, "5xx"; a single status wins over its hundred.
	Statuses map[string]string `yaml:"statuses" enum:"done,transient,transient-local,throttled,schema,business,integration,quarantine" example:"{\"409\": business}"`
	// Headers are sent with every request. They hold nothing secret.
	Headers map[string]string `yaml:"headers" example:"{X-Team: billing}"`
	// SecretHeaders are sent with every request, such as an API key.
	SecretHeaders map[string]Secret `yaml:"secret_headers" example:"{X-Api-Key: {env: API_KEY}}"`
}

// Auth authenticates requests. Exactly one setting is given.
type Auth struct {
	// Bearer is sent as a bearer token.
	Bearer Secret `yaml:"bearer" oneof:"auth"`
	// Basic is a user and a password.
	Basic *Basic `yaml:"basic" oneof:"auth"`
}

// Basic is a user and a password.
type Basic struct {
	// User is the name.
	User string `yaml:"user" required:"true"`
	// Password belongs to it.
	Password Secret `yaml:"password" required:"true"`
}

// HMAC signs requests.
type HMAC struct {
	// Secret is the key, "whsec_" and base64.
	Secret Secret `yaml:"secret" required:"true"`
	// OldSecrets are signed with too, while receivers move to the new secret.
	OldSecrets []Secret `yaml:"old_secrets"`
}

func (h Handler) clone() Handler {
	h.HTTP = clonePointer(h.HTTP)
	if h.HTTP == nil {
		return h
	}
	h.HTTP.Statuses = maps.Clone(h.HTTP.Statuses)
	h.HTTP.Headers = maps.Clone(h.HTTP.Headers)
	h.HTTP.SecretHeaders = maps.Clone(h.HTTP.SecretHeaders)
	h.HTTP.TLS = clonePointer(h.HTTP.TLS)
	if h.HTTP.Auth = clonePointer(h.HTTP.Auth); h.HTTP.Auth != nil {
		h.HTTP.Auth.Basic = clonePointer(h.HTTP.Auth.Basic)
	}
	if h.HTTP.HMAC = clonePointer(h.HTTP.HMAC); h.HTTP.HMAC != nil {
		h.HTTP.HMAC.OldSecrets = slices.Clone(h.HTTP.HMAC.OldSecrets)
	}
	return h
}
