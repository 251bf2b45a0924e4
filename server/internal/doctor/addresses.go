package doctor

import (
	"context"
	"net"
	"net/url"
	"time"
)

// dialTimeout bounds one connection.
const dialTimeout = 3 * time.Second

// addresses looks whether endpoints answer, and whether the own address is free.
// A connection is opened and closed; nothing is sent.
func (e *examination) addresses(ctx context.Context) {
	seen := map[string]bool{}
	for _, s := range e.config.Subscriptions {
		if s.Handler.HTTP == nil {
			continue
		}
		u, err := url.Parse(s.Handler.HTTP.URL)
		if err != nil || seen[u.Host] {
			continue // The configuration is valid.
		}
		seen[u.Host] = true
		e.endpoint(ctx, u)
	}
	e.admin(ctx)
}

func (e *examination) endpoint(ctx context.Context, u *url.URL) {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	name, address := "endpoint "+u.Host, net.JoinHostPort(u.Hostname(), port)
	if err := dial(ctx, address); err != nil {
		e.warn(name, "start it, or correct the url: until then its messages wait, and nothing is lost", "%v", err)
		return
	}
	e.ok(name, "accepts connections")
}

// admin looks whether somebody else has the address for health and metrics.
func (e *examination) admin(ctx context.Context) {
	address := e.config.Admin.Listen
	_, port, err := net.SplitHostPort(address)
	if err != nil || port == "0" {
		return
	}
	switch err := dial(ctx, address); {
	case err != nil:
		e.ok("admin.listen", "%s is free", address)
	case e.held:
		e.ok("admin.listen", "%s answers", address)
	default:
		e.warn("admin.listen", "if that is not a redrive run, set another address", "somebody listens on %s already", address)
	}
}

func dial(ctx context.Context, address string) error {
	d := net.Dialer{Timeout: dialTimeout}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}
