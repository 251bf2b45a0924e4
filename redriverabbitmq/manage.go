package redriverabbitmq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// management asks the management plugin. A nil one asks nobody.
type management struct {
	base           string
	user, password string
	vhost          string
	timeout        time.Duration
	client         *http.Client
	transport      *http.Transport
}

// errNotFound says that what was asked for does not exist.
var errNotFound = errors.New("not found")

func newManagement(config Config, at target) *management {
	if config.ManagementURL == "" {
		return nil
	}
	u, err := url.Parse(config.ManagementURL)
	if err != nil {
		return nil // Validate has refused it.
	}
	m := &management{user: at.user, password: at.password, vhost: at.vhost, timeout: config.Timeout}
	if u.User != nil {
		m.user = u.User.Username()
		m.password, _ = u.User.Password()
		u.User = nil
	}
	m.base = strings.TrimSuffix(u.String(), "/")
	m.transport = &http.Transport{DialContext: config.Dial, MaxIdleConnsPerHost: 4, IdleConnTimeout: 30 * time.Second}
	if config.TLS != nil {
		m.transport.TLSClientConfig = config.TLS.Clone()
	}
	m.client = &http.Client{Transport: m.transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return m
}

func (m *management) close() {
	if m != nil {
		m.transport.CloseIdleConnections()
	}
}

// maxAnswer bounds what is read of one answer.
const maxAnswer = 64 << 20

// get reads one resource. Parts of the path are escaped by the caller.
func (m *management) get(ctx context.Context, path string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, m.timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, m.base+path, http.NoBody)
	if err != nil {
		return fmt.Errorf("management API: %w", err)
	}
	request.SetBasicAuth(m.user, m.password)
	answer, err := m.client.Do(request)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return fmt.Errorf("management API at %s: %w", redactURL(m.base), err)
	}
	defer func() {
		_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 1<<16)) // So that the connection can be used again.
		_ = answer.Body.Close()
	}()
	switch answer.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return fmt.Errorf("management API: %w", errNotFound)
	case http.StatusUnauthorized:
		return fmt.Errorf("management API at %s refuses user %q: it needs the tag monitoring or management, and permissions on vhost %q", redactURL(m.base), m.user, m.vhost)
	default:
		return fmt.Errorf("management API at %s answered %s", redactURL(m.base), answer.Status)
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxAnswer)).Decode(into); err != nil {
		return fmt.Errorf("management API at %s: answer to %s: %w", redactURL(m.base), path, err)
	}
	return nil
}

func (m *management) ping(ctx context.Context) error {
	var who struct {
		Name string `json:"name"`
	}
	return m.get(ctx, "/api/whoami", &who)
}

// queueInfo is a queue as the management API shows it.
type queueInfo struct {
	Name       string         `json:"name"`
	Type       string         `json:"type"`
	Durable    bool           `json:"durable"`
	AutoDelete bool           `json:"auto_delete"`
	Exclusive  bool           `json:"exclusive"`
	Arguments  map[string]any `json:"arguments"`
	// Policy is what all policies together set.
	Policy policy `json:"effective_policy_definition"`
	Ready  int64  `json:"messages_ready"`
	// Unacked lags behind by some seconds.
	Unacked int64 `json:"messages_unacknowledged"`
	// Moving are dead letters whose target has not confirmed them, Delayed what
	// RabbitMQ 4.3 itself delays.
	Moving  int64 `json:"messages_dlx"`
	Delayed int64 `json:"messages_delayed"`
}

// policy is an object that is an empty list when there is none.
type policy map[string]any

// UnmarshalJSON implements json.Unmarshaler.
func (p *policy) UnmarshalJSON(raw []byte) error {
	var object map[string]any
	if json.Unmarshal(raw, &object) == nil {
		*p = object
	}
	return nil
}

func (m *management) queue(ctx context.Context, name string) (queueInfo, error) {
	var q queueInfo
	err := m.get(ctx, "/api/queues/"+url.PathEscape(m.vhost)+"/"+url.PathEscape(name), &q)
	return q, err
}

// queues lists all queues of the vhost, with their totals and without statistics.
func (m *management) queues(ctx context.Context) ([]queueInfo, error) {
	var all []queueInfo
	err := m.get(ctx, "/api/queues/"+url.PathEscape(m.vhost)+"?disable_stats=true&enable_queue_totals=true", &all)
	return all, err
}

// exchange reads the type of an exchange.
func (m *management) delayed(ctx context.Context, queue string) (exchange string, err error) {
	var bindings []struct {
		Source string `json:"source"`
	}
	if err := m.get(ctx, "/api/queues/"+url.PathEscape(m.vhost)+"/"+url.PathEscape(queue)+"/bindings", &bindings); err != nil {
		return "", err
	}
	seen := map[string]bool{"": true}
	for _, b := range bindings {
		if seen[b.Source] {
			continue
		}
		seen[b.Source] = true
		var x struct {
			Type string `json:"type"`
		}
		err := m.get(ctx, "/api/exchanges/"+url.PathEscape(m.vhost)+"/"+url.PathEscape(b.Source), &x)
		if err != nil && !errors.Is(err, errNotFound) {
			return "", err
		}
		if x.Type == "x-delayed-message" {
			return b.Source, nil
		}
	}
	return "", nil
}

// disabledFlag reports whether a feature flag exists and is off.
func (m *management) disabledFlag(ctx context.Context, name string) (bool, error) {
	var flags []struct {
		Name  string `json:"name"`
		State string `json:"state"`
	}
	if err := m.get(ctx, "/api/feature-flags", &flags); err != nil {
		return false, err
	}
	for _, f := range flags {
		if f.Name == name {
			return f.State == "disabled", nil
		}
	}
	return false, nil
}
