package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
)

// Server answers the three questions over HTTP. It is safe for concurrent use.
type Server struct {
	listener net.Listener
	http     *http.Server
	metrics  *Metrics
	prober   atomic.Pointer[Prober]
	done     chan struct{}
	err      error
}

// errStarting is the answer until Ready was called.
var errStarting = errors.New("starting: the brokers are not connected yet")

// Start listens on the address and answers at once: alive, and not ready until
// SetProber. The server's own log goes to log.
func Start(ctx context.Context, address string, metrics *Metrics, log *slog.Logger) (*Server, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for health and metrics: %w", err)
	}
	s := &Server{listener: listener, metrics: metrics, done: make(chan struct{})}
	s.http = &http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	go func() {
		defer close(s.done)
		if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.err = err
		}
	}()
	return s, nil
}

// Addr is the address that the server listens on.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// SetProber says which checks /readyz runs from now on.
func (s *Server) SetProber(p *Prober) { s.prober.Store(p) }

// Done is closed when the server no longer answers.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err is why the server ended by itself. Call it after Done is closed.
func (s *Server) Err() error { return s.err }

// Stop lets requests end and closes the listener; when the context ends first,
// connections are cut.
func (s *Server) Stop(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	<-s.done
	return err
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := errors.Join(s.ready(r.Context())...); err != nil {
			answer(w, http.StatusServiceUnavailable, lines(err))
			return
		}
		answer(w, http.StatusOK, "ok\n")
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		// Asking brings redrive_broker_up up to date.
		_ = s.ready(r.Context())
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_, _ = w.Write(s.metrics.Text())
	})
	return mux
}

func (s *Server) ready(ctx context.Context) []error {
	p := s.prober.Load()
	if p == nil {
		return []error{errStarting}
	}
	return p.Ready(ctx)
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}

// lines makes the text of an error fit for a terminal: what a server said comes
// from outside.
func lines(err error) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && unicode.IsControl(r) {
			return '\uFFFD'
		}
		return r
	}, err.Error()) + "\n"
}
