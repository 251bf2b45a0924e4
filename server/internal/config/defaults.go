package config

import (
	"reflect"
	"time"

	"github.com/redrive-dev/redrive/breaker"
	"github.com/redrive-dev/redrive/retry"
)

// WithDefaults returns a copy in which everything that is not set has its
// default: a subscription takes it from the Defaults section, and that from the
// built-in values. It is idempotent.
func (c Config) WithDefaults() Config {
	c = c.Clone()
	if c.Version == 0 {
		c.Version = Version
	}
	if len(c.Brokers) == 0 {
		c.Brokers = map[string]Broker{DefaultBroker: {Type: BrokerEmbedded}}
	}
	for name, b := range c.Brokers {
		fill(reflect.ValueOf(&b).Elem())
		c.Brokers[name] = b
	}
	shared := c.Defaults
	c.Defaults = shared.withDefaults()
	fill(reflect.ValueOf(&c).Elem())
	for i := range c.Subscriptions {
		s := &c.Subscriptions[i]
		// What depends on another setting is computed from what the subscription ends
		// up with, so it inherits what the defaults section says and not what that
		// section would end up with.
		inherit(reflect.ValueOf(&s.Policy).Elem(), reflect.ValueOf(shared.clone()))
		s.Policy = s.Policy.withDefaults()
		fill(reflect.ValueOf(s).Elem())
		if s.Broker == "" {
			s.Broker = c.onlyBroker()
		}
		if h := s.Handler.HTTP; h != nil {
			if h.Timeout == 0 {
				h.Timeout = s.HandlerTimeout
			}
			if h.MaxIdleConns == 0 {
				h.MaxIdleConns = s.Concurrency
			}
		}
	}
	return c
}

func (p Policy) withDefaults() Policy {
	p = p.clone()
	fill(reflect.ValueOf(&p).Elem())
	if p.MaxInFlight == 0 {
		p.MaxInFlight = 4 * p.Concurrency
	}
	if p.Retry.Max == 0 {
		p.Retry.Max = max(Duration(retry.DefaultMax), p.Retry.Base)
	}
	if p.Breaker.RecoveryMax == 0 {
		p.Breaker.RecoveryMax = max(Duration(breaker.DefaultRecoveryMax), p.Breaker.Recovery)
	}
	if p.LoneHold == 0 {
		p.LoneHold = min(Duration(15*time.Minute), p.Retry.MaxAge)
	}
	for i := range p.Retry.Tiers {
		t := reflect.ValueOf(&p.Retry.Tiers[i]).Elem()
		inherit(t.FieldByName("Delay"), reflect.ValueOf(p.Retry.Delay))
		fill(t)
	}
	return p
}

// onlyBroker is the broker that a subscription means when it names none, or "".
func (c Config) onlyBroker() string {
	embedded, only := "", ""
	for name, b := range c.Brokers {
		only = name
		if b.Type == BrokerEmbedded {
			if embedded != "" {
				return ""
			}
			embedded = name
		}
	}
	if embedded == "" && len(c.Brokers) == 1 {
		return only
	}
	return embedded
}

// fill gives every scalar that is not set its built-in default.
func fill(v reflect.Value) {
	for _, s := range Settings(v.Type()) {
		field := v.FieldByIndex(s.index)
		switch {
		case s.Type == reflect.TypeFor[Secret]():
		case !s.applies(v):
		case field.Kind() == reflect.Struct:
			fill(field)
		case field.Kind() == reflect.Pointer && !field.IsNil():
			fill(field.Elem())
		case s.Default != "" && field.IsZero():
			// The tags are all read by a test, so this cannot fail.
			_ = setScalar(field, s.Default)
		}
	}
}

// inherit copies from src what dst does not set, key by key.
func inherit(dst, src reflect.Value) {
	for _, s := range Settings(dst.Type()) {
		to, from := dst.FieldByIndex(s.index), src.FieldByIndex(s.index)
		switch {
		case to.Kind() == reflect.Struct && s.Type != reflect.TypeFor[Secret]():
			inherit(to, from)
		case to.IsZero():
			to.Set(from)
		}
	}
}
