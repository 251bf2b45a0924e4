package httphandler

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// pipes is a listener whose connections are in memory, so that a server can run in
// a bubble of virtual time.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "memory"} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	p.conns <- server
	return client, nil
}

// inBubble runs test with a client of a server in memory.
func inBubble(t *testing.T, cfg Config, h http.HandlerFunc, test func(*testing.T, *Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		s := &http.Server{Handler: h}
		go func() { _ = s.Serve(p) }()
		cfg.URL = "http://endpoint"
		c := newClient(t, cfg)
		c.transport.DialContext = p.dial
		test(t, c)
		c.Close()
		_ = s.Close()
	})
}

// Five requests of 20 s over one connection all keep within a time-out of 30 s.
func TestWaitingForAConnectionIsNotTheEndpointsFault(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{MaxConns: 1, Timeout: 30 * time.Second}, func(_ http.ResponseWriter, _ *http.Request) {
		<-time.NewTimer(20 * time.Second).C
	}, func(t *testing.T, c *Client) {
		start := time.Now()
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				if err := c.Handle(t.Context(), Request{}); err != nil {
					t.Errorf("handle: %v", err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(start); took != 100*time.Second {
			t.Errorf("took %v, want 1m40s", took)
		}
	})
}

func TestTimesAreKept(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{}, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Begin") != "" {
			w.WriteHeader(http.StatusTeapot)
			_ = http.NewResponseController(w).Flush()
		}
		<-r.Context().Done()
	}, func(t *testing.T, c *Client) {
		for header, want := range map[string]time.Duration{"X": 30 * time.Second, "Begin": 2 * time.Second} {
			start := time.Now()
			if err := c.Handle(t.Context(), Request{Headers: producer(header, "1")}); err == nil {
				t.Error("no error")
			}
			if took := time.Since(start); took != want {
				t.Errorf("%s: took %v, want %v", header, took, want)
			}
		}
	})
}

// After a 101 nothing but us ends the connection.
func TestSwitchingProtocolsDoesNotHang(t *testing.T) {
	t.Parallel()
	inBubble(t, Config{}, func(w http.ResponseWriter, _ *http.Request) {
		conn, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Errorf("hijack: %v", err)
			return
		}
		_, _ = buf.WriteString("HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		_ = buf.Flush()
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	}, func(t *testing.T, c *Client) {
		start := time.Now()
		if err := c.Handle(t.Context(), Request{}); kind(err) != "transient" {
			t.Errorf("%v", err)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("took %v", took)
		}
	})
}
