// Command redrive keeps failed messages safe: see "redrive help".
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/redrive-dev/redrive/server/internal/cli"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		cause := cli.ErrInterrupted
		if <-signals == syscall.SIGTERM {
			cause = cli.ErrTerminated
		}
		// A second signal ends the process at once: whoever sends it does not want to
		// wait for what is being finished. From before anybody can see that the first
		// one has arrived.
		signal.Stop(signals)
		cancel(cause)
	}()
	system := cli.System()
	system.Services = services()
	return cli.Main(ctx, system, os.Args[1:])
}
