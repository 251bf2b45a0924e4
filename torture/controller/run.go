package controller

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/torture/checker"
	"github.com/redrive-dev/redrive/torture/scenario"
	"github.com/redrive-dev/redrive/torture/worker"
)

// Report is what a run found, and how it was made.
type Report struct {
	checker.Result

	// Type is the Config.Broker, and Broker the server and its version.
	Type        string `json:"type"`
	Broker      string `json:"broker"`
	Messages    int    `json:"messages"`
	Kills       int    `json:"kills"`
	ServerKills int    `json:"server_kills"`
	PowerCuts   int    `json:"power_cuts"`
	Deploys     int    `json:"deploys"`
	Groups      int    `json:"groups"`
	Inbox       bool   `json:"inbox"`
	Seed        uint64 `json:"seed"`
	Mutant      string `json:"mutant,omitempty"`
	// Sync is the broker's setting of this name. CutFiles and CutBytes are what the
	// power cuts took: files that were not synchronised as a whole, and the bytes
	// written to them since.
	Sync     string `json:"sync"`
	CutFiles int    `json:"cut_files"`
	CutBytes int64  `json:"cut_bytes"`
	// Workers is the number of worker processes, and Deaths of those that ended
	// without being killed or stopped.
	Workers int `json:"workers"`
	Deaths  int `json:"deaths"`
	// Go is the version of the toolchain.
	Go string `json:"go"`
	// Killing, Draining and Total are durations in seconds.
	Killing  float64 `json:"killing_seconds"`
	Draining float64 `json:"draining_seconds"`
	Total    float64 `json:"total_seconds"`
	// At is when the run began.
	At time.Time `json:"at"`
	// Trouble is the first publication that was not confirmed at once, Stopping how a worker
	// failed to stop at the end, and LastWords the end of what workers printed.
	// Workers print nothing if all is well.
	Trouble   string `json:"trouble,omitempty"`
	Stopping  string `json:"stopping,omitempty"`
	LastWords string `json:"last_words,omitempty"`
}

// run is one run.
type run struct {
	config   Config
	scenario scenario.Scenario
	random   *rand.Rand
	dir      string
	queue    string
	launcher *launcher
	site     site
	broker   worker.Broker
	caps     broker.Caps
	crew     *crew
	producer *producer
	report   Report
}

func (r *run) outage() string    { return filepath.Join(r.dir, "outage") }
func (r *run) workerLog() string { return filepath.Join(r.dir, "workers.log") }
func (r *run) books() string     { return filepath.Join(r.dir, "books") }
func (r *run) inbox() string     { return filepath.Join(r.dir, "inbox.db") }

// restarts says that the broker does not stay up all the time.
func (r *run) restarts() bool { return r.config.ServerKills+r.config.PowerCuts > 0 }

// keyHeader says that the position of a message is no key for it: the broker tells
// none, or keeps both copies of a publication that was repeated.
func (r *run) keyHeader() bool {
	return !r.caps.StableIdentity || r.restarts() && r.caps.DedupeWindow == 0
}

// names are those of a group, counted from 0.
func (r *run) names(group int) broker.Names {
	return broker.NamesFor(r.queue, groups[group])
}

// allNames are those of all groups.
func (r *run) allNames() []broker.Names {
	out := make([]broker.Names, r.config.Groups)
	for group := range out {
		out[group] = r.names(group)
	}
	return out
}

// journals is the folder of the journals of a group.
func (r *run) journals(group int) string {
	return filepath.Join(r.dir, "journals-"+groups[group])
}

// say tells how far the run is. Nobody has to listen.
func (r *run) say(format string, args ...any) { _, _ = fmt.Fprintf(r.config.Progress, format, args...) }

// Run makes a run. The error says that the run could not be made; what the run
// found is in the report.
func Run(ctx context.Context, c Config) (Report, error) {
	c = c.WithDefaults()
	if err := c.Validate(); err != nil {
		return Report{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.Timeout, fmt.Errorf("torture: the run took longer than %s", c.Timeout))
	defer cancel()
	dir, err := os.MkdirTemp(c.Dir, "redrive-torture-")
	if err != nil {
		return Report{}, fmt.Errorf("torture: %w", err)
	}
	r := &run{
		config: c, dir: dir, queue: worker.Source, launcher: newLauncher(),
		scenario: scenario.Scenario{Seed: c.Seed, Mix: c.Mix},
		random:   rand.New(rand.NewPCG(c.Seed, 3)), //nolint:gosec // the times of kills, not a secret
		report: Report{
			Type: c.Broker, Messages: c.Messages, Seed: c.Seed, Mutant: c.Mutant, Groups: c.Groups, Inbox: c.Inbox, Sync: c.Sync, At: time.Now().UTC(),
			Go: runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH,
		},
	}
	if c.Instance != nil {
		// Others were here before.
		r.queue += "-" + strings.ToLower(crand.Text()[:8])
	}
	r.crew = &crew{run: r}
	start := time.Now()
	err = errors.Join(r.make(ctx), r.clean(context.WithoutCancel(ctx)))
	if err != nil && ctx.Err() != nil {
		err = errors.Join(context.Cause(ctx), err)
	}
	r.report.Total = time.Since(start).Seconds()
	return r.report, err
}

// make goes through the phases: start, publish and kill, heal, drain, look, check.
func (r *run) make(ctx context.Context) error {
	for group := range r.config.Groups {
		if err := os.Mkdir(r.journals(group), 0o700); err != nil {
			return fmt.Errorf("torture: %w", err)
		}
	}
	if err := r.open(ctx); err != nil {
		return err
	}
	var err error
	if r.producer, err = newProducer(r.scenario, r.broker, r.queue, r.books()); err != nil {
		return err
	}
	r.producer.persistent = r.restarts()
	// A group that comes later does not get what was published before.
	for group := range r.config.Groups {
		if err := r.broker.Topology().Ensure(ctx, broker.Spec{Source: r.names(group).Source, Group: groups[group]}); err != nil {
			return err
		}
	}
	if r.caps, err = r.broker.Caps(ctx, r.queue); err != nil {
		return err
	}
	r.report.Broker = r.caps.Server
	if err := r.crew.hire(); err != nil {
		return err
	}
	if err := r.awaitQueue(ctx); err != nil {
		return err
	}
	r.say("%s is up, and workers are at it\n", r.report.Broker)
	start := time.Now()
	if err := r.torment(ctx); err != nil {
		return err
	}
	r.report.Killing = time.Since(start).Seconds()

	r.say("working off the rest\n")
	start = time.Now()
	drained, err := r.drain(ctx)
	if err != nil {
		return err
	}
	r.report.Draining = time.Since(start).Seconds()
	r.say("stopping and looking\n")
	if err := r.crew.stop(ctx); err != nil {
		r.report.Stopping = err.Error()
	}
	return r.judge(ctx, drained)
}

// open starts the broker and connects to it.
func (r *run) open(ctx context.Context) error {
	s, err := kindOf(r.config.Broker).open(ctx, r)
	if err != nil {
		return err
	}
	r.site = s
	if err := s.start(ctx); err != nil {
		return err
	}
	r.broker, err = s.connection().Connect(ctx)
	return err
}

// clean ends what still runs and removes what was written.
func (r *run) clean(ctx context.Context) error {
	var errs []error
	r.crew.kill()
	if r.producer != nil {
		errs = append(errs, r.producer.close())
	}
	if r.broker != nil {
		closeCtx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		errs = append(errs, r.broker.Close(closeCtx))
	}
	if r.site != nil {
		errs = append(errs, r.site.close(ctx))
	}
	r.launcher.close()
	if r.config.Keep {
		r.say("kept %s\n", r.dir)
	} else {
		errs = append(errs, os.RemoveAll(r.dir))
	}
	return errors.Join(errs...)
}
