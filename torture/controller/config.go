package controller

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/redrive-dev/redrive/redrivetest/mutant"
	"github.com/redrive-dev/redrive/retry"
	"github.com/redrive-dev/redrive/torture/scenario"
)

// Config says what a run is made of.
type Config struct {
	// Broker is what to run on, one of Brokers. Default: nats, the embedded broker.
	Broker string
	// Messages is how many are published, not counting those that go along while
	// the run drains. Required.
	Messages int
	// Kills is how many workers are killed. Default: 0.
	Kills int
	// ServerKills is how often the broker is killed and started again on what it left
	// behind. Default: 0.
	ServerKills int
	// PowerCuts is how often the broker's machine loses power: it is killed, and its
	// disk forgets what was not synchronised. Only for the embedded broker. Default: 0,
	// its files are on a real disk.
	PowerCuts int
	// Sync is the embedded broker's setting of this name, always or default.
	// Default: always.
	Sync string
	// Deploys is how often a worker is stopped the way that a deployment does, and
	// replaced. Default: 0.
	Deploys int
	// Pause is the longest time between two of these blows; the shortest is a quarter
	// of it. Default: 200 ms, or what the broker needs to notice that a worker is gone.
	Pause time.Duration
	// Lease is how long a worker has a message between two extensions. Default: 2 s.
	Lease time.Duration
	// Groups is how many consumer groups read the messages, 1 or 2. With two each has
	// one of the workers. Default: 1.
	Groups int
	// Inbox makes every effect a row that commits together with an inbox. Default:
	// false, effects are records and nothing recognises a repeat.
	Inbox bool
	// Budget limits retries. Default: no limit.
	Budget retry.BudgetConfig
	// Seed decides the script of every message and the times of the kills. The same
	// seed does not give the same run, because the machine has a say too.
	Seed uint64
	// Mutant is a known-bad variant to run in place of the library, one of
	// those of package mutant. Default: none.
	Mutant string
	// Mix is what the messages are like. Default: scenario.Usual.
	Mix scenario.Mix
	// OutageFrom and OutageTo are the shares of the kills and deployments, in percent,
	// between which every handler fails. Default: 45 and 60.
	OutageFrom, OutageTo int
	// Server is the redrive binary. Required for the embedded broker.
	Server string
	// Instance is a server of the Broker to run on, which is killed and started again
	// if the run says so, and is up at its end. Default: one is started for the run.
	// Not for the embedded broker.
	Instance *Server
	// Worker is a program that calls worker.Main when it finds worker.Variable.
	// Required.
	Worker string
	// Dir is an existing folder for the run's own one. Default: that for temporary
	// files.
	Dir string
	// Keep leaves the run's folder where it is. Default: false, it is removed.
	Keep bool
	// DrainTimeout is how long the rest may take after the last kill.
	// Default: 60 s.
	DrainTimeout time.Duration
	// Timeout bounds the whole run. Default: 5 min.
	Timeout time.Duration
	// Progress gets a line now and then. Default: nothing is said.
	Progress io.Writer
}

// WithDefaults returns a copy with the defaults filled in.
func (c Config) WithDefaults() Config {
	if c.Broker == "" {
		c.Broker = Brokers()[0]
	}
	if c.Mix == (scenario.Mix{}) {
		c.Mix = scenario.Usual
	}
	if c.Pause == 0 {
		c.Pause = kindOf(c.Broker).pause
	}
	if c.Sync == "" {
		c.Sync = "always"
	}
	if c.Groups == 0 {
		c.Groups = 1
	}
	if c.OutageFrom == 0 && c.OutageTo == 0 {
		c.OutageFrom, c.OutageTo = 45, 60
	}
	if c.DrainTimeout == 0 {
		c.DrainTimeout = time.Minute
	}
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Minute
	}
	if c.Progress == nil {
		c.Progress = io.Discard
	}
	return c
}

// Validate reports every setting that is out of range, joined.
func (c Config) Validate() error {
	return errors.Join(c.ValidateScript(),
		check(c.Server != "" || !c.NeedsServer(), "Server is required"),
		check(c.Worker != "", "Worker is required"))
}

// NeedsServer says that the run needs Server.
func (c Config) NeedsServer() bool { return kindOf(c.WithDefaults().Broker).binary }

// ValidateScript is Validate for all but the programs.
func (c Config) ValidateScript() error {
	c = c.WithDefaults()
	if !slices.Contains(Brokers(), c.Broker) {
		c.Pause = kinds()[0].pause
	}
	return errors.Join(
		check(slices.Contains(Brokers(), c.Broker), "Broker %q is none of %s", c.Broker, strings.Join(Brokers(), ", ")),
		check(c.Instance == nil || c.Instance.broker == c.Broker, "Instance must be one of %s", c.Broker),
		check(c.PowerCuts == 0 || kindOf(c.Broker).disk, "PowerCuts must be 0 for %s, whose disk is not ours, got %d", c.Broker, c.PowerCuts),
		check(c.Messages >= 1 && c.Messages <= 10_000_000, "Messages must be 1 to 10,000,000, got %d", c.Messages),
		check(c.Kills >= 0 && c.Kills <= 100_000, "Kills must be 0 to 100,000, got %d", c.Kills),
		check(c.ServerKills >= 0 && c.ServerKills <= 10_000, "ServerKills must be 0 to 10,000, got %d", c.ServerKills),
		check(c.PowerCuts >= 0 && c.PowerCuts <= 10_000, "PowerCuts must be 0 to 10,000, got %d", c.PowerCuts),
		check(c.Sync == "always" || c.Sync == "default", "Sync must be always or default, got %q", c.Sync),
		check(c.Deploys >= 0 && c.Deploys <= 10_000, "Deploys must be 0 to 10,000, got %d", c.Deploys),
		check(c.Pause >= time.Millisecond && c.Pause <= time.Minute, "Pause must be 1 ms to 1 min, got %s", c.Pause),
		check(c.Lease >= 0 && c.Lease <= time.Minute, "Lease must be 0 to 1 min, got %s", c.Lease),
		check(c.Groups == 1 || c.Groups == workers, "Groups must be 1 or %d, got %d", workers, c.Groups),
		check(c.Groups == 1 || !kindOf(c.Broker).oneGroup, "Groups must be 1 for %s, got %d", c.Broker, c.Groups),
		check(c.Groups == 1 || !c.Inbox, "Inbox is for one consumer group, got Groups %d", c.Groups),
		c.Budget.Validate(),
		check(c.Mutant == "" || slices.Contains(mutant.Names(), c.Mutant),
			"Mutant %q is none of %s", c.Mutant, strings.Join(mutant.Names(), ", ")),
		check(c.DrainTimeout > 0, "DrainTimeout must be positive, got %s", c.DrainTimeout),
		check(c.Timeout > 0, "Timeout must be positive, got %s", c.Timeout),
		check(0 <= c.OutageFrom && c.OutageFrom <= c.OutageTo && c.OutageTo <= 100,
			"OutageFrom and OutageTo must be percentages in this order, got %d and %d", c.OutageFrom, c.OutageTo),
	)
}

func check(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf("torture: "+format, args...)
}
