package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/redrive-dev/redrive/bench/child"
	"github.com/redrive-dev/redrive/bench/rounds"
	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/redrivenats"
)

const (
	group    = "The binary"
	queue    = "orders"
	patience = 30 * time.Second
	// idle is how long the process is left alone before its memory is looked at.
	idle = 5 * time.Second
)

// builds are the ways in which the binary is built.
func builds() map[string][]string {
	return map[string][]string{
		strippedName: {"-trimpath", "-ldflags", "-s -w"},
		plainName:    nil,
	}
}

const (
	strippedName = "`go build -trimpath -ldflags \"-s -w\"`"
	plainName    = "`go build`"
	startName    = "redrive up, a message waiting"
	idleName     = "redrive up, after 5 s of nothing to do"
)

// repository is the folder above the module that this program runs in: the binary
// is built in the workspace of the product, with the product's own versions.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "server", "cmd", "redrive")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("no folder above the working directory holds server/cmd/redrive: run this in the folder bench")
		}
	}
}

// build builds the binary and returns its path.
func build(ctx context.Context, dir string, flags []string) (string, error) {
	root, err := repository()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "redrive.bin")
	cmd := exec.CommandContext(ctx, "go", append(append([]string{"build", "-o", path}, flags...), "./server/cmd/redrive")...) //nolint:gosec // our own program
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0", "GOWORK="+filepath.Join(root, "go.work"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the redrive binary: %w\n%s", err, out)
	}
	return path, nil
}

// inFolder calls f with a new folder and removes it afterwards.
func inFolder(f func(dir string) (rounds.Sample, error)) (_ rounds.Sample, err error) {
	dir, err := os.MkdirTemp("", "redrive-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	return f(dir)
}

func sizeOf(flags []string) func(context.Context) (rounds.Sample, error) {
	return func(ctx context.Context) (rounds.Sample, error) {
		return inFolder(func(dir string) (rounds.Sample, error) {
			path, err := build(ctx, dir, flags)
			if err != nil {
				return nil, err
			}
			info, err := os.Stat(path)
			if err != nil {
				return nil, err
			}
			return rounds.Sample{rounds.Megabytes: float64(info.Size()) / 1e6}, nil
		})
	}
}

// instance is a configured folder with a binary and an endpoint that its handler
// posts to.
type instance struct {
	dir, binary string
	endpoint    *endpoint
}

// config is the whole configuration: the embedded broker with its defaults, which
// sync every write, and one subscription with a handler over HTTP.
const config = `version: 1
data_dir: %s
admin: {listen: "127.0.0.1:0"}
brokers:
  local: {type: embedded}
`

const subscription = `subscriptions:
  - source: orders
    broker: local
    handler:
      http: {url: "%s"}
`

// start starts redrive up, with the subscription or only as a broker.
func (i *instance) start(ctx context.Context, handles bool) (*child.Process, error) {
	text := fmt.Sprintf(config, filepath.Join(i.dir, "data"))
	if handles {
		text += fmt.Sprintf(subscription, i.endpoint.url)
	}
	file := filepath.Join(i.dir, "redrive.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return child.Start(ctx, child.Command{
		Program: i.binary, Args: []string{"up", "--config", file}, Dir: i.dir,
		Env: []string{"HOME=" + i.dir, "XDG_CONFIG_HOME="}, Signal: true,
	})
}

// prepare leaves one message in the queue: it starts the broker, publishes, and
// stops it again.
func (i *instance) prepare(ctx context.Context) error {
	p, err := i.start(ctx, false)
	if err != nil {
		return err
	}
	err = i.publish(ctx, p)
	return errors.Join(err, p.Stop(patience))
}

func (i *instance) publish(ctx context.Context, p *child.Process) error {
	b, err := i.connect(ctx, p)
	if err != nil {
		return err
	}
	err = b.Topology().Ensure(ctx, broker.Spec{Source: queue})
	if err == nil {
		err = b.Publish(ctx, []broker.Outbound{{Queue: queue, ID: "pub:1", Body: make([]byte, 1024)}})[0]
	}
	return errors.Join(err, b.Close(ctx))
}

// connect waits until the broker answers.
func (i *instance) connect(ctx context.Context, p *child.Process) (*redrivenats.Broker, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		b, err := i.dial(ctx)
		if err == nil {
			return b, nil
		}
		select {
		case <-again.C:
		case <-p.Done():
			return nil, fmt.Errorf("redrive up ended: %s", p.Said())
		case <-ctx.Done():
			return nil, fmt.Errorf("redrive up does not answer: %w: %w: %s", context.Cause(ctx), err, p.Said())
		}
	}
}

func (i *instance) dial(ctx context.Context) (*redrivenats.Broker, error) {
	url, err1 := os.ReadFile(filepath.Join(i.dir, "data", "nats.url"))
	token, err2 := os.ReadFile(filepath.Join(i.dir, "data", "nats.token"))
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	return redrivenats.Connect(ctx, redrivenats.Config{URL: strings.TrimSpace(string(url)), Token: strings.TrimSpace(string(token))})
}

// endpoint is a handler over HTTP that says yes and tells when it was called.
type endpoint struct {
	url    string
	called chan time.Time
	server *http.Server
}

func serve(ctx context.Context) (*endpoint, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	e := &endpoint{url: "http://" + listener.Addr().String() + "/orders", called: make(chan time.Time, 1)}
	e.server = &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		select {
		case e.called <- time.Now():
		default:
		}
		w.WriteHeader(http.StatusNoContent)
	})}
	go func() { _ = e.server.Serve(listener) }() // It ends with Close.
	return e, nil
}

// up measures one start: the time until the handler gets the message that waits,
// and, if asked, the memory after a while without work.
func up(binary func(context.Context) (string, error), rest bool) func(context.Context) (rounds.Sample, error) {
	return func(ctx context.Context) (rounds.Sample, error) {
		program, err := binary(ctx)
		if err != nil {
			return nil, err
		}
		return inFolder(func(dir string) (_ rounds.Sample, err error) {
			e, err := serve(ctx)
			if err != nil {
				return nil, err
			}
			defer func() { err = errors.Join(err, e.server.Close()) }()
			i := &instance{dir: dir, binary: program, endpoint: e}
			if err := i.prepare(ctx); err != nil {
				return nil, err
			}
			start := time.Now()
			p, err := i.start(ctx, true)
			if err != nil {
				return nil, err
			}
			defer func() { err = errors.Join(err, p.Stop(patience)) }()
			called, err := e.await(ctx, p)
			if err != nil {
				return nil, err
			}
			if !rest {
				return rounds.Sample{rounds.Milliseconds: float64(called.Sub(start)) / float64(time.Millisecond)}, nil
			}
			return resting(ctx, p)
		})
	}
}

func (e *endpoint) await(ctx context.Context, p *child.Process) (time.Time, error) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case at := <-e.called:
		return at, nil
	case <-p.Done():
		return time.Time{}, fmt.Errorf("redrive up ended: %s", p.Said())
	case <-timer.C:
		return time.Time{}, fmt.Errorf("redrive up handled nothing within %v: %s", patience, p.Said())
	case <-ctx.Done():
		return time.Time{}, context.Cause(ctx)
	}
}

func resting(ctx context.Context, p *child.Process) (rounds.Sample, error) {
	timer := time.NewTimer(idle)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	now, _, err := child.Memory(p.PID())
	if err != nil {
		return nil, err
	}
	return rounds.Sample{rounds.Mebibytes: now}, nil
}
