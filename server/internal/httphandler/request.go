package httphandler

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/redrive-dev/redrive/broker"
)

// Request is a message to deliver.
type Request struct {
	// Body is sent as it is. It must not be changed, not even after Handle has
	// returned.
	Body []byte
	// ContentType describes Body. If it is empty, the producer's header
	// Content-Type does, and else it is application/octet-stream.
	ContentType string
	// Headers are the producer's own, in order.
	Headers []broker.Header
	// Attempt counts from 1; MaxAttempts is the limit, 0 if there is none.
	Attempt, MaxAttempts int
	// FirstFailure is the time of the first failed attempt, zero if there was none.
	FirstFailure time.Time
	// CorrelationID ties the message to an operation. IdempotencyKey is the same on
	// every attempt and replay. MessageID is what the producer or broker gave. Each
	// may be empty, and may be any bytes.
	CorrelationID, IdempotencyKey, MessageID string
}

// newRequest builds the HTTP request. It returns the secret values in it, which
// must not appear in any text.
func (c *Client) newRequest(ctx context.Context, r Request) (*http.Request, []string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url.String(), bytes.NewReader(r.Body))
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make a request to %s", c.origin)
	}
	req.Header = c.ownHeaders(r)
	secrets, err := c.authenticate(req.Header)
	if err != nil {
		return nil, nil, err
	}
	if len(c.cfg.Signing) > 0 {
		keys, err := readKeys(c.cfg.Signing)
		if err != nil {
			return nil, nil, err
		}
		for _, k := range keys {
			secrets = append(secrets, k.text...)
		}
		for name, value := range sign(keys, webhookID(r), c.cfg.Now(), r.Body) {
			req.Header[name] = []string{value}
		}
	}
	addProducer(req.Header, r.Headers, c.cfg.MaxHeaderBytes)
	return req, secrets, nil
}

// ownHeaders are the headers that say what redrive knows of a message, and those
// of the configuration that are not secret.
func (c *Client) ownHeaders(r Request) http.Header {
	h := http.Header{}
	for name, value := range c.cfg.Headers {
		h[headerKey(name)] = []string{value}
	}
	h.Set(headerUserAgent, "redrive")
	h.Set(headerContentType, contentType(r))
	h.Set(headerAttempt, itoa(r.Attempt))
	if r.MaxAttempts > 0 {
		h.Set(headerMaxAttempts, itoa(r.MaxAttempts))
	}
	if !r.FirstFailure.IsZero() {
		h.Set(headerFirstFailure, r.FirstFailure.UTC().Format(time.RFC3339Nano))
	}
	if r.CorrelationID != "" {
		h.Set(headerCorrelationID, fieldValue(r.CorrelationID))
	}
	if r.MessageID != "" {
		h.Set(headerMessageID, fieldValue(r.MessageID))
	}
	if r.IdempotencyKey != "" {
		// Not in canonical form: net/http would repeat the request by itself.
		h[strings.ToLower(headerIdempotencyKey)] = []string{fieldValue(r.IdempotencyKey)}
	}
	return h
}

func contentType(r Request) string {
	if r.ContentType != "" && len(r.ContentType) <= maxFieldValue && validValue(r.ContentType) {
		return r.ContentType
	}
	for _, p := range r.Headers {
		value := string(p.Value)
		if strings.EqualFold(p.Name, headerContentType) && value != "" && len(value) <= maxFieldValue && validValue(value) {
			return value
		}
	}
	return defaultContentType
}

// authenticate adds the credentials to h and returns every form in which they are
// secret.
func (c *Client) authenticate(h http.Header) ([]string, error) {
	var secrets []string
	for _, name := range sortedKeys(c.cfg.SecretHeaders) {
		value, err := readSecret(c.cfg.SecretHeaders[name], "secret header "+name)
		if err != nil {
			return nil, err
		}
		h[headerKey(name)] = []string{value}
		secrets = append(secrets, value)
	}
	if c.cfg.Auth.Bearer != nil {
		token, err := readSecret(c.cfg.Auth.Bearer, "bearer token")
		if err != nil {
			return nil, err
		}
		h.Set(headerAuthorization, "Bearer "+token)
		secrets = append(secrets, token)
	}
	if c.cfg.Auth.Password != nil {
		password, err := c.cfg.Auth.Password()
		if err != nil {
			return nil, fmt.Errorf("cannot read the password: %w", err)
		}
		password = strings.TrimRight(password, "\r\n")
		pair := base64.StdEncoding.EncodeToString([]byte(c.cfg.Auth.User + ":" + password))
		h.Set(headerAuthorization, "Basic "+pair)
		secrets = append(secrets, password, pair)
	}
	return secrets, nil
}

// readSecret reads a secret that becomes a header value. A file usually ends in a
// line break, which is not part of the secret.
func readSecret(s Secret, what string) (string, error) {
	value, err := s()
	if err != nil {
		return "", fmt.Errorf("cannot read the %s: %w", what, err)
	}
	value = strings.TrimRight(value, "\r\n")
	if value == "" {
		return "", fmt.Errorf("the %s is empty", what)
	}
	if !validValue(value) {
		return "", fmt.Errorf("the %s contains characters that an HTTP header cannot carry", what)
	}
	return value, nil
}

func itoa(n int) string { return strconv.Itoa(n) }
