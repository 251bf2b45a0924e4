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

	"github.com/redrive-dev/redrive/redrivenats"
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

// server is the broker's process.
type server struct {
	*process
	dataDir string
}

// startServer starts the broker, on what an earlier one left behind if there was
// one.
func (r *run) startServer(ctx context.Context) (*server, error) {
	config := filepath.Join(r.dir, "redrive.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, serverConfig, r.config.Sync), 0o600); err != nil {
		return nil, fmt.Errorf("configure the broker: %w", err)
	}
	s := &server{dataDir: r.dataDir()}
	log := filepath.Join(r.dir, "server.log")
	var err error
	s.process, err = r.launcher.start(log, "REDRIVE_TORTURE=1", r.config.Server, "up", "--config", config, "--data-dir", s.dataDir)
	if err != nil {
		return nil, err
	}
	if err := s.await(ctx); err != nil {
		s.kill()
		said, logErr := os.ReadFile(log) //nolint:gosec // in our own folder
		return nil, errors.Join(fmt.Errorf("start the broker: %w\n%s", err, strings.TrimSpace(string(said))), logErr)
	}
	return s, nil
}

// await waits until the broker answers.
func (s *server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		b, err := s.connect(ctx)
		if err == nil {
			return b.Close(ctx)
		}
		select {
		case <-s.done:
			return fmt.Errorf("its process ended: %w", s.err)
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-again.C:
		}
	}
}

func (s *server) connect(ctx context.Context) (*redrivenats.Broker, error) {
	return s.connectAt(ctx, "")
}

// connectAt connects by way of an address that is not the broker's own.
func (s *server) connectAt(ctx context.Context, at string) (*redrivenats.Broker, error) {
	to, err := worker.Connect(s.dataDir, at)
	if err != nil {
		return nil, err
	}
	return redrivenats.Connect(ctx, to)
}

// cutPower kills the broker, lets its disk forget what was not synchronised, and
// starts the broker on what is left.
func (r *run) cutPower(ctx context.Context) error {
	r.server.kill()
	after, lost := r.disk.Cut()
	r.report.CutFiles += lost.Files
	r.report.CutBytes += lost.Bytes
	if err := r.mounted.Unmount(); err != nil {
		return err
	}
	if err := r.mount(after); err != nil {
		return err
	}
	s, err := r.startServer(ctx)
	if err != nil {
		return err
	}
	r.server = s
	return nil
}

// mount puts a disk where the broker keeps its data.
func (r *run) mount(d *disk.Disk) error {
	if err := os.MkdirAll(r.dataDir(), 0o700); err != nil {
		return fmt.Errorf("torture: %w", err)
	}
	m, err := disk.Mount(d, r.dataDir())
	if err != nil {
		r.mounted = nil
		return err
	}
	r.disk, r.mounted = d, m
	return nil
}

// restart kills the broker and starts it again.
func (r *run) restart(ctx context.Context) error {
	r.server.kill()
	s, err := r.startServer(ctx)
	if err != nil {
		return err
	}
	r.server = s
	return nil
}
