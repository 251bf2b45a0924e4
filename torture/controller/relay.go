package controller

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// relay is an address that stays while brokers come and go: a killed broker
// listens on another port when it is back. It hands bytes on and keeps none, so a
// connection ends when either side of it does.
type relay struct {
	dataDir string
	listen  net.Listener
	busy    sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool // nil after close
}

// newRelay listens for clients of the embedded broker of a data directory.
func newRelay(ctx context.Context, dataDir string) (*relay, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("relay: %w", err)
	}
	r := &relay{dataDir: dataDir, listen: l, conns: map[net.Conn]bool{}}
	r.busy.Go(r.accept)
	return r, nil
}

func (r *relay) url() string { return "nats://" + r.listen.Addr().String() }

func (r *relay) accept() {
	for {
		client, err := r.listen.Accept()
		if err != nil {
			return
		}
		r.busy.Go(func() { r.serve(client) })
	}
}

// serve hands on what one client says. A broker that is away is told to the client
// by the end of its connection, as a restarting machine would.
func (r *relay) serve(client net.Conn) {
	defer r.drop(client)
	if !r.keep(client) {
		return
	}
	raw, err := os.ReadFile(filepath.Join(r.dataDir, "nats.url"))
	if err != nil {
		return
	}
	at, err := url.Parse(strings.TrimSpace(string(raw)))
	if err != nil {
		return
	}
	server, err := (&net.Dialer{Timeout: time.Second}).Dial("tcp", at.Host)
	if err != nil {
		return
	}
	defer r.drop(server)
	if !r.keep(server) {
		return
	}
	back := make(chan struct{})
	go func() {
		defer close(back)
		defer r.drop(client)
		_, _ = io.Copy(client, server)
	}()
	_, _ = io.Copy(server, client)
	r.drop(server)
	<-back
}

func (r *relay) keep(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conns == nil {
		return false
	}
	r.conns[c] = true
	return true
}

// drop closes a connection. An error means that it is closed already.
func (r *relay) drop(c net.Conn) {
	_ = c.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, c)
}

func (r *relay) close() error {
	err := r.listen.Close()
	r.mu.Lock()
	open := r.conns
	r.conns = nil
	r.mu.Unlock()
	for c := range open {
		err = errors.Join(err, ignoreClosed(c.Close()))
	}
	r.busy.Wait()
	return err
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
