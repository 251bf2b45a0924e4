package servertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
)

// Kind says which server it is. The zero value is none.
type Kind struct {
	// Program is the name of the program in e2e/servers.
	Program string
	// Version is what that program takes as --version, empty where there is one only.
	Version string
}

// String is the name that e2e/servers/up knows the server by.
func (k Kind) String() string {
	if k.Version == "" {
		return k.Program
	}
	return k.Program + "-" + k.Version
}

// The servers there are.
var (
	KindKafka       = Kind{Program: "kafka"}
	KindRabbitMQ310 = Kind{Program: "rabbitmq", Version: "3.10"}
	KindRabbitMQ40  = Kind{Program: "rabbitmq", Version: "4.0"}
	KindRabbitMQ43  = Kind{Program: "rabbitmq", Version: "4.3"}
	KindSQS         = Kind{Program: "elasticmq"}
	KindNATS        = Kind{Program: "nats"}
)

// Options say how a server runs. The zero value is a private one.
type Options struct {
	// Shared asks for a server that other tests use at the same time: the one that a
	// variable such as REDRIVE_KAFKA_URL or REDRIVE_RABBITMQ_4_0_URL names, else the
	// one that make servers-up started if it is up, else one of this process, which
	// ends with it. It cannot be killed. Default: a private one.
	Shared bool
	// Config is added, line by line, to the server's configuration file. Only a
	// private server takes it.
	Config []string
}

// Instance is one server. It is for those who are no test; others use Server. Its
// methods are not for concurrent use.
type Instance struct {
	// URL is where clients connect, with credentials where the server asks for any.
	URL string
	// Version is what the server calls itself, such as "4.3.6".
	Version string
	// Settings holds what else e2e/servers/... env prints, by name: further URLs,
	// the files with certificates, the process id, the log.
	Settings map[string]string

	kind    Kind
	options Options
	name    string
	program string
	slot    func()
}

var instances atomic.Int64

// NewInstance prepares a private server, which Start starts.
func NewInstance(kind Kind, options Options) (*Instance, error) {
	if options.Shared {
		return nil, errors.New("servertest: an instance is private")
	}
	return newInstance(kind, options, fmt.Sprintf("p%d-%d", os.Getpid(), instances.Add(1)))
}

func newInstance(kind Kind, options Options, name string) (*Instance, error) {
	root, err := repositoryRoot()
	if err != nil {
		return nil, fmt.Errorf("servertest: %w", err)
	}
	program := filepath.Join(root, "e2e", "servers", kind.Program)
	return &Instance{kind: kind, options: options, name: name, program: program}, nil
}

// Start starts the server and returns when it answers. A first start may download
// it, which takes minutes.
func (i *Instance) Start(ctx context.Context) error {
	if i.slot == nil && i.name != "" {
		i.slot = takeSlot(ctx)
	}
	if err := i.up(ctx); err != nil {
		// What is half there would be in the way of the next try.
		_, cleanup := i.run(context.WithoutCancel(ctx), "remove")
		i.releaseSlot()
		return errors.Join(err, cleanup)
	}
	return nil
}

// Restart starts a killed server on the same ports and data and returns when it
// answers.
func (i *Instance) Restart(ctx context.Context) error { return i.up(ctx) }

// Kill ends the server with SIGKILL and returns when it is gone. Its data stays.
func (i *Instance) Kill(ctx context.Context) error {
	_, err := i.run(ctx, "kill")
	return err
}

// Stop ends the server and removes its data.
func (i *Instance) Stop(ctx context.Context) error {
	defer i.releaseSlot()
	_, err := i.run(ctx, "remove")
	return err
}

func (i *Instance) releaseSlot() {
	if i.slot != nil {
		i.slot()
		i.slot = nil
	}
}

func (i *Instance) up(ctx context.Context) error {
	args := []string{"--owner", strconv.Itoa(os.Getpid())}
	for _, line := range i.options.Config {
		args = append(args, "--config", line)
	}
	if i.name == "" {
		args = nil
	}
	if _, err := i.run(ctx, "up", args...); err != nil {
		return err
	}
	return i.look(ctx)
}

// look reads where the server is.
func (i *Instance) look(ctx context.Context) error {
	out, err := i.run(ctx, "env")
	if err != nil {
		return err
	}
	i.Settings = map[string]string{}
	for line := range strings.Lines(out) {
		if name, value, found := strings.Cut(strings.TrimSpace(line), "="); found {
			i.Settings[name] = value
		}
	}
	i.URL, i.Version = i.Settings["url"], i.Settings["version"]
	if i.URL == "" {
		return fmt.Errorf("%s: it does not say where it is: %q", i.kind, out)
	}
	return nil
}

// run runs the program and returns what it prints. Its last line of complaint is the
// error.
func (i *Instance) run(ctx context.Context, command string, more ...string) (string, error) {
	args := append([]string{command}, more...)
	if i.name != "" {
		args = append(args, "--instance", i.name)
	}
	if i.kind.Version != "" {
		args = append(args, "--version", i.kind.Version)
	}
	cmd := exec.CommandContext(ctx, "bash", append([]string{i.program}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		said := strings.Split(strings.TrimSpace(stderr.String()), "\n")
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		if last := said[len(said)-1]; last != "" {
			return "", fmt.Errorf("%s (%s: %w)", last, command, err)
		}
		return "", fmt.Errorf("%s: %s: %w", i.kind, command, err)
	}
	return stdout.String(), nil
}

func repositoryRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "e2e", "servers", "up")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no e2e/servers above the working directory")
		}
		dir = parent
	}
}
