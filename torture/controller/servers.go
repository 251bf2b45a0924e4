package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"

	"github.com/redrive-dev/redrive/internal/servertest"
	"github.com/redrive-dev/redrive/torture/worker"
)

// ErrNoServer says that a server could not be started on this machine. That says
// nothing about redrive.
var ErrNoServer = errors.New("there is no server")

// Server is a real server that runs are made on, one after the other. It is used by
// one goroutine.
type Server struct {
	broker   string
	instance *servertest.Instance
}

// StartServer starts a server for a broker that is not embedded, with data and ports
// of its own, by the program of this repository that is made for that. It goes away
// with this process, even if Close is not called.
func StartServer(ctx context.Context, name string) (*Server, error) {
	instance, err := servertest.NewInstance(kindOf(name).server, servertest.Options{})
	if err == nil {
		err = instance.Start(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoServer, err)
	}
	return &Server{name, instance}, nil
}

// Close ends the server and removes its data.
func (s *Server) Close(ctx context.Context) error { return s.instance.Stop(ctx) }

// serverSite is the site of a Server.
type serverSite struct {
	server  *Server
	own     bool
	started bool
	to      worker.Connection
}

// newServerSite makes the site of a run on a type of broker.
func newServerSite(ctx context.Context, r *run, brokerType string) (*serverSite, error) {
	s := &serverSite{server: r.config.Instance, started: true}
	if s.server == nil {
		var err error
		r.say("starting %s\n", r.config.Broker)
		if s.server, err = StartServer(ctx, r.config.Broker); err != nil {
			return nil, err
		}
		s.own = true
	}
	s.to = worker.Connection{Type: brokerType, URL: s.server.instance.URL, Options: maps.Clone(s.server.instance.Settings)}
	s.to.Options[worker.OptionMarks] = filepath.Join(r.dir, "marks.db")
	return s, nil
}

func (s *serverSite) connection() worker.Connection { return s.to }

// start starts a server that was killed; one that has not been is up.
func (s *serverSite) start(ctx context.Context) error {
	if s.started {
		return nil
	}
	s.started = true
	return s.server.instance.Restart(ctx)
}

func (s *serverSite) kill(ctx context.Context) error {
	s.started = false
	return s.server.instance.Kill(ctx)
}

func (s *serverSite) ended() (<-chan struct{}, func() error) {
	return nil, func() error { return nil }
}

func (s *serverSite) close(ctx context.Context) error {
	if s.own {
		return s.server.Close(ctx)
	}
	return s.start(ctx)
}
