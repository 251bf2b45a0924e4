package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/redrive-dev/redrive/server/app"
	"github.com/redrive-dev/redrive/server/internal/backup"
	"github.com/redrive-dev/redrive/server/internal/cli"
	"github.com/redrive-dev/redrive/server/internal/disk"
	"github.com/redrive-dev/redrive/server/internal/embednats"
	"github.com/redrive-dev/redrive/server/internal/inbox"
)

// services gives the commands what puts brokers and workers together.
func services() cli.Services {
	return cli.Services{
		Serve: serve,
		Connect: func(ctx context.Context, c cli.Connecting) (cli.Connection, error) {
			conn, err := app.Connect(ctx, c.Config, c.Broker, app.ConnectOptions{Create: c.Create, Logger: c.Log})
			if err != nil {
				return nil, err
			}
			return conn, nil
		},
		NoData: app.ErrNoData,
		Demo:   demoPlatform(),
		DemoOn: demoPlatformOn,
		Backup: backup.Platform{Hold: hold, Transient: embednats.Transient, CopyDatabase: inbox.Copy, Free: disk.Free},
		Doctor: doctorPlatform(),
		Hangup: func() (<-chan os.Signal, func()) {
			hangup := make(chan os.Signal, 1)
			signal.Notify(hangup, syscall.SIGHUP)
			return hangup, func() { signal.Stop(hangup) }
		},
	}
}

// hold takes a data directory that is not in use.
func hold(dataDir string) (func() error, error) {
	release, err := embednats.Hold(dataDir)
	if _, locked := errors.AsType[*embednats.LockedError](err); locked {
		return nil, &backup.Error{Err: err, Remedy: "stop redrive up first; its messages wait, and nothing is lost by that"}
	}
	return release, err
}

// serve runs the workers until the context ends.
func serve(ctx context.Context, s cli.Serving) error {
	a, err := app.New(ctx, app.Options{
		Config: s.Config, Embedded: s.Embedded, Reload: s.Reload, Logger: s.Log,
		Version: s.Build.Version, Commit: s.Build.Commit,
	})
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	reloading := make(chan struct{})
	go func() {
		defer close(reloading)
		for {
			select {
			case <-s.Hangup:
				// What is wrong is in the log; the old configuration stays in force.
				_, _ = a.Reload(ctx)
			case <-ended:
				return
			}
		}
	}()
	err = a.Run(ctx)
	close(ended)
	<-reloading
	return err
}
