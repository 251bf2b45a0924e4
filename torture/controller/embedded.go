package controller

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/redrive-dev/redrive/torture/disk"
	"github.com/redrive-dev/redrive/torture/worker"
)

// serverConfig starts an embedded broker with its own defaults, but for what sync
// says, and nothing that consumes.
const serverConfig = `version: 1
admin: {listen: "127.0.0.1:0"}
brokers:
  local: {type: embedded, sync: %s}
`

// BuildServer builds the redrive binary into a folder and returns its path. The
// working directory must be in this module.
func BuildServer(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "redrive.bin")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/redrive-dev/redrive/server/cmd/redrive") //nolint:gosec // our own program
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the redrive binary: %w\n%s", err, out)
	}
	return path, nil
}

// embedded is the site of the redrive binary with its embedded broker.
type embedded struct {
	launcher *launcher
	binary   string
	sync     string
	dir      string
	relay    *relay // nil unless the broker is killed
	disk     *disk.Disk
	mounted  *disk.Mounted // nil unless the power is cut
	process  *process      // nil before the first start
}

// newEmbedded makes the site of a run. The address is one that stays if the broker
// is going to be killed: when it is back it listens on another port.
func newEmbedded(ctx context.Context, r *run) (site, error) {
	e := &embedded{launcher: r.launcher, binary: r.config.Server, sync: r.config.Sync, dir: r.dir}
	if r.config.PowerCuts > 0 {
		if err := e.mount(disk.New()); err != nil {
			return nil, err
		}
	}
	if r.config.PowerCuts+r.config.ServerKills > 0 {
		var err error
		if e.relay, err = newRelay(ctx, e.dataDir()); err != nil {
			return nil, errors.Join(err, e.close(ctx))
		}
	}
	return e, nil
}

func (e *embedded) dataDir() string { return filepath.Join(e.dir, "data") }

func (e *embedded) connection() worker.Connection {
	c := worker.Connection{Type: worker.TypeNATS, Options: map[string]string{worker.OptionDataDir: e.dataDir()}}
	if e.relay != nil {
		c.URL = e.relay.url()
	}
	return c
}

func (e *embedded) start(ctx context.Context) error {
	config := filepath.Join(e.dir, "redrive.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, serverConfig, e.sync), 0o600); err != nil {
		return fmt.Errorf("configure the broker: %w", err)
	}
	log := filepath.Join(e.dir, "server.log")
	p, err := e.launcher.start(log, "REDRIVE_TORTURE=1", e.binary, "up", "--config", config, "--data-dir", e.dataDir())
	if err != nil {
		return err
	}
	e.process = p
	if err := e.await(ctx); err != nil {
		p.kill()
		said, logErr := os.ReadFile(log) //nolint:gosec // in our own folder
		return errors.Join(fmt.Errorf("start the broker: %w\n%s", err, strings.TrimSpace(string(said))), logErr)
	}
	return nil
}

// await waits until the broker answers at its own address.
func (e *embedded) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	at := e.connection()
	at.URL = ""
	for {
		b, err := at.Connect(ctx)
		if err == nil {
			return b.Close(ctx)
		}
		select {
		case <-e.process.done:
			return fmt.Errorf("its process ended: %w", e.process.err)
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-again.C:
		}
	}
}

func (e *embedded) kill(context.Context) error {
	e.process.kill()
	return nil
}

func (e *embedded) ended() (<-chan struct{}, func() error) {
	p := e.process
	return p.done, func() error { return p.err }
}

// cutPower kills the broker, lets its disk forget what was not synchronised, and
// starts the broker on what is left.
func (e *embedded) cutPower(ctx context.Context) (disk.Loss, error) {
	e.process.kill()
	after, lost := e.disk.Cut()
	err := e.mounted.Unmount()
	e.mounted = nil
	if err == nil {
		err = e.mount(after)
	}
	if err == nil {
		err = e.start(ctx)
	}
	return lost, err
}

// mount puts a disk where the broker keeps its data.
func (e *embedded) mount(d *disk.Disk) error {
	if err := os.MkdirAll(e.dataDir(), 0o700); err != nil {
		return fmt.Errorf("torture: %w", err)
	}
	m, err := disk.Mount(d, e.dataDir())
	if err != nil {
		return err
	}
	e.disk, e.mounted = d, m
	return nil
}

func (e *embedded) close(context.Context) error {
	var errs []error
	if e.relay != nil {
		errs = append(errs, e.relay.close())
	}
	if e.process != nil {
		// There is nothing left to be kept.
		e.process.kill()
	}
	if e.mounted != nil {
		errs = append(errs, e.mounted.Unmount())
	}
	return errors.Join(errs...)
}
