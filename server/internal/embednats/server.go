package embednats

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Server is a running server. It is safe for concurrent use.
type Server struct {
	config Config
	nats   *server.Server
	token  string
	lock   *lockFile

	shutdown sync.Once
	done     chan struct{}
	err      error
}

// Start runs a server and returns when it is ready. A data directory that is in
// use is refused with a *LockedError that names the process.
func Start(ctx context.Context, config Config) (*Server, error) {
	config = config.WithDefaults()
	if err := config.Validate(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if err := os.MkdirAll(config.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("embednats: make the data directory: %w", err)
	}
	held, err := acquire(config.DataDir)
	if err != nil {
		return nil, fmt.Errorf("embednats: %w", err)
	}
	s := &Server{config: config, lock: held, done: make(chan struct{})}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("embednats: %w", err), s.Shutdown(context.WithoutCancel(ctx)))
	}
	return s, nil
}

func (s *Server) start(ctx context.Context) error {
	var err error
	if s.token, err = ensureToken(s.config.DataDir); err != nil {
		return fmt.Errorf("token: %w", err)
	}
	if s.nats, err = server.NewServer(s.options()); err != nil {
		return err
	}
	log := &natsLog{ctx: context.WithoutCancel(ctx), to: s.config.Logger}
	s.nats.SetLoggerV2(log, false, false, false)
	started := make(chan struct{})
	go func() {
		defer close(started)
		s.nats.Start()
	}()
	if err := s.awaitReady(ctx, started, log); err != nil {
		return err
	}
	return writePrivate(filepath.Join(s.config.DataDir, urlFile), s.URL()+"\n")
}

// options leave everything off that is not asked for: no routes, gateways,
// leaf nodes, monitoring or websockets listen unless they are configured.
func (s *Server) options() *server.Options {
	port := s.config.Port
	if port == 0 {
		port = server.RANDOM_PORT
	}
	options := &server.Options{
		ServerName: "redrive", Host: "127.0.0.1", Port: port, Authorization: s.token,
		NoSigs: true, MaxPayload: s.config.MaxPayload,
		JetStream: true, StoreDir: filepath.Join(s.config.DataDir, "nats"),
		JetStreamMaxStore: s.config.MaxStore, SyncAlways: s.config.Sync == SyncAlways,
	}
	if options.SyncAlways {
		// This is what the server's own setting "always" sets beside it.
		options.SyncInterval = 2 * time.Minute
	}
	return options
}

// awaitReady waits until the server listens, has failed, or the time is up.
func (s *Server) awaitReady(ctx context.Context, started <-chan struct{}, log *natsLog) error {
	ctx, cancel := context.WithTimeout(ctx, s.config.StartTimeout)
	defer cancel()
	select {
	case <-started:
	case <-ctx.Done():
		return fmt.Errorf("recovery of the streams did not end: %w", context.Cause(ctx))
	}
	// Start returns after it tried to listen.
	if fatal := log.fatal(); fatal != "" {
		return fmt.Errorf("the server did not start: %s", fatal)
	}
	const listening = 5 * time.Second
	if !s.nats.ReadyForConnections(listening) || !s.nats.JetStreamEnabled() {
		return errors.New("the server did not start, its log says why")
	}
	return nil
}

// URL is where the server listens, without credentials.
func (s *Server) URL() string { return s.nats.ClientURL() }

// Token is what clients have to present. It is a secret.
func (s *Server) Token() string { return s.token }

// Connect returns a connection inside the process, which no network trouble can
// reach. The caller closes it.
func (s *Server) Connect(options ...nats.Option) (*nats.Conn, error) {
	// A publish that is buffered while a server is away is sent later than anybody
	// expects; here there is nothing to reconnect to.
	own := []nats.Option{nats.InProcessServer(s.nats), nats.Token(s.token), nats.ReconnectBufSize(-1)}
	nc, err := nats.Connect("", append(own, options...)...)
	if err != nil {
		return nil, fmt.Errorf("embednats: %w", err)
	}
	return nc, nil
}

// Shutdown stops the server and gives up the data directory. It returns when
// everything is on disk, or with the context's error while that goes on. It is
// idempotent.
func (s *Server) Shutdown(ctx context.Context) error {
	s.shutdown.Do(func() { go s.stop() })
	select {
	case <-s.done:
		return s.err
	case <-ctx.Done():
		return fmt.Errorf("embednats: shutdown goes on: %w", context.Cause(ctx))
	}
}

func (s *Server) stop() {
	defer close(s.done)
	err := os.Remove(filepath.Join(s.config.DataDir, urlFile))
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	if s.nats != nil {
		s.nats.Shutdown()
		s.nats.WaitForShutdown()
	}
	s.err = errors.Join(err, s.lock.release())
}
