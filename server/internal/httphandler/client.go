package httphandler

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// Client delivers messages to one endpoint. Its methods are safe for concurrent
// use.
type Client struct {
	cfg       Config
	url       *url.URL
	origin    string
	transport *http.Transport
	slots     chan struct{}
}

// New checks the configuration and returns a client. It opens no connection, but
// reads every secret and file once, so that a wrong one stops the start. Its error
// lists every problem and holds no secret.
func New(cfg Config) (*Client, error) {
	cfg = cfg.WithDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("http handler: %w", err)
	}
	u, err := url.Parse(cfg.URL)
	if err != nil {
		return nil, errors.New("http handler: url: is not a valid URL")
	}
	c := &Client{cfg: cfg, url: u, origin: origin(u), slots: make(chan struct{}, cfg.MaxConns)}
	transport, transportErr := newTransport(cfg, u)
	_, authErr := c.authenticate(http.Header{})
	_, signErr := readKeys(cfg.Signing)
	if err := errors.Join(transportErr, authErr, signErr); err != nil {
		return nil, fmt.Errorf("http handler: %w", err)
	}
	c.transport = transport
	return c, nil
}

// Close closes the connections that are not in use. Requests under way go on to
// their end. It may be called more than once; Handle must not be called after it.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Handle delivers a message and waits for the answer. It returns nil if the
// endpoint handled it, context.Cause(ctx) if ctx ended before the endpoint had
// answered, and otherwise an error with a marker of package failure: a
// *StatusError inside if there was an answer, and a *CallError if there was none.
// An unreadable secret is a transient failure that counts as the endpoint's, so
// that messages wait until it can be read.
func (c *Client) Handle(ctx context.Context, r Request) error {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	call, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	req, secrets, err := c.newRequest(call, r)
	if err != nil {
		return mark(transient, transient, fmt.Errorf("http handler: %w", err), 0)
	}
	// The transport is used without an http.Client, which would follow redirects
	// and put the whole URL into its errors.
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return mark(transient, transient, c.callError(call, err, secrets), 0)
	}
	// A body that comes slowly must not keep the answer back: its status is known.
	timer := time.AfterFunc(c.cfg.BodyTimeout, cancel)
	defer timer.Stop()
	defer func() { _ = resp.Body.Close() }()
	var head []byte
	if resp.StatusCode != http.StatusSwitchingProtocols {
		// After a 101 the body is the bare connection, which no context closes.
		head = readAnswer(resp.Body, maxMessage+longest(secrets))
	}
	return outcome(resp.StatusCode, resp.Header, c.cfg.Statuses, c.cfg.Now(), func() string {
		return c.message(resp, head, secrets)
	})
}

// message is the text of a StatusError.
func (c *Client) message(resp *http.Response, head []byte, secrets []string) string {
	text := answerText(head, secrets)
	if text == "" {
		text = http.StatusText(resp.StatusCode)
	}
	if text == "" {
		text = "no message"
	}
	if resp.StatusCode/100 == 3 && resp.Header.Get("Location") != "" {
		return "redirects are not followed; give the final address as the url"
	}
	return text
}

// CallError is a request that got no answer.
type CallError struct {
	text string
	err  error
}

// Error says which endpoint gave no answer, and why. It holds no secret and no
// control character.
func (e *CallError) Error() string { return e.text }

// Unwrap returns the cause, nil if its text would reveal a secret.
func (e *CallError) Unwrap() error { return e.err }

func (c *Client) callError(call context.Context, err error, secrets []string) error {
	if errors.Is(call.Err(), context.DeadlineExceeded) {
		return &CallError{
			text: fmt.Sprintf("no answer from %s within %s", c.origin, c.cfg.Timeout),
			err:  context.DeadlineExceeded,
		}
	}
	text := "no answer from " + c.origin + ": " + err.Error()
	if redact(text, len(text), secrets) != text {
		// The endpoint sent a secret back in place of an answer, and the cause
		// repeats it.
		err = nil
	}
	return &CallError{text: answerText([]byte(text), secrets), err: err}
}
