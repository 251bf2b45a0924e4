package app

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/redrive-dev/redrive"
	"github.com/redrive-dev/redrive/server/internal/config"
	"github.com/redrive-dev/redrive/server/internal/httphandler"
	"github.com/redrive-dev/redrive/server/internal/schema"
)

// newHandler makes the handler of a subscription, and a function that frees it.
func newHandler(ctx context.Context, s config.Subscription) (redrive.Handler, func(), error) {
	if s.Handler.HTTP == nil {
		// Validate has seen that it is the sink.
		return func(context.Context, *redrive.Message) error { return nil }, func() {}, nil
	}
	client, err := httphandler.New(httpConfig(ctx, s))
	if err != nil {
		return nil, nil, err
	}
	return func(ctx context.Context, m *redrive.Message) error { return client.Handle(ctx, request(m)) }, client.Close, nil
}

// request is a message as the endpoint gets it.
func request(m *redrive.Message) httphandler.Request {
	return httphandler.Request{
		Body: m.Body, Headers: m.Headers,
		Attempt: m.Attempt, MaxAttempts: m.MaxAttempts, FirstFailure: m.FirstFailure,
		CorrelationID: m.CorrelationID, IdempotencyKey: m.IdempotencyKey, MessageID: m.ID,
	}
}

func httpConfig(ctx context.Context, s config.Subscription) httphandler.Config {
	h := s.Handler.HTTP
	out := httphandler.Config{
		URL: h.URL, Timeout: time.Duration(h.Timeout),
		// Handlers are bounded by the concurrency already.
		MaxConns: s.Concurrency, MaxIdleConns: h.MaxIdleConns,
		Headers: maps.Clone(h.Headers), Statuses: maps.Clone(h.Statuses),
	}
	for name, value := range h.SecretHeaders {
		if out.SecretHeaders == nil {
			out.SecretHeaders = map[string]httphandler.Secret{}
		}
		out.SecretHeaders[name] = cached(ctx, value)
	}
	if a := h.Auth; a != nil {
		if !a.Bearer.IsZero() {
			out.Auth.Bearer = cached(ctx, a.Bearer)
		}
		if a.Basic != nil {
			out.Auth.User, out.Auth.Password = a.Basic.User, cached(ctx, a.Basic.Password)
		}
	}
	if h.HMAC != nil {
		for _, value := range slices.Concat([]config.Secret{h.HMAC.Secret}, h.HMAC.OldSecrets) {
			out.Signing = append(out.Signing, cached(ctx, value))
		}
	}
	if t := h.TLS; t != nil {
		out.TLS = httphandler.TLS{
			CAFile: string(t.CAFile), CertFile: string(t.CertFile), KeyFile: string(t.KeyFile), ServerName: t.ServerName,
		}
	}
	return out
}

// validator checks messages against a JSON Schema.
type validator struct{ schema *schema.Validator }

// newValidator returns nil if the subscription has no schema.
func newValidator(s config.Subscription) (redrive.Validator, error) {
	if s.Schema == nil {
		return nil, nil //nolint:nilnil // no schema makes no validator
	}
	v, err := schema.Load(string(s.Schema.File))
	if err != nil {
		return nil, err
	}
	return validator{v}, nil
}

// Validate implements redrive.Validator.
func (v validator) Validate(ctx context.Context, m *redrive.Message) error {
	return v.schema.Validate(ctx, m.Body, contentType(m.Headers))
}

func contentType(headers []redrive.Header) string {
	for _, h := range headers {
		if strings.EqualFold(h.Name, "Content-Type") {
			return string(h.Value)
		}
	}
	return ""
}

// label names a subscription in errors and logs.
func label(s config.Subscription) string {
	return "subscription " + subscriptionName(s)
}
