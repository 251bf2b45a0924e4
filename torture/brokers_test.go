package main

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/redrive-dev/redrive/redrivetest/mutant"
	"github.com/redrive-dev/redrive/torture/checker"
	"github.com/redrive-dev/redrive/torture/controller"
)

// site is a broker beside the embedded one, and how much it is tortured.
type site struct {
	name string
	// serverKills are those of a check of a change and of a full run. ElasticMQ has none:
	// after two it kept eight messages, for as long as the run looked, and gave them to
	// nobody, which says nothing about SQS.
	serverKills, fullServerKills int
	// trials and mutants are those of a check of a change. A full run has all.
	trials, mutants []string
	// immune are the mutants that are no fault on this broker, with the reason.
	immune map[string]string
}

func sites() []site {
	return []site{
		{name: "kafka", serverKills: 1, fullServerKills: 10},
		{name: "rabbitmq-3.10", serverKills: 1, fullServerKills: 3, immune: oneGroup},
		{name: "rabbitmq-4.0", serverKills: 1, fullServerKills: 3, immune: oneGroup},
		{name: "rabbitmq-4.3", serverKills: 1, fullServerKills: 3, mutants: []string{mutant.AckFirst}, immune: oneGroup},
		{name: "sqs", immune: oneGroup},
	}
}

var oneGroup = map[string]string{mutant.GroupInKey: "a queue has one consumer group, so that no other can know a message by another key"}

func full() bool { return os.Getenv("REDRIVE_FULL") == "1" }

// serve starts the server of a site. Like other tests that need one, this is passed
// over where it cannot be had, unless it must be.
func serve(t *testing.T, name string) *controller.Server {
	t.Helper()
	s, err := controller.StartServer(t.Context(), name)
	switch {
	case errors.Is(err, controller.ErrNoServer) && os.Getenv("REDRIVE_REQUIRE_SERVERS") != "1":
		t.Skip(err)
	case err != nil:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return s
}

// NO-LOSS-WORKER-KILL, NO-LOSS-BROKER-KILL and MUTANTS on the real servers of the
// other brokers, one after the other: together they would have to share two cores.
func TestOtherBrokers(t *testing.T) {
	for _, s := range sites() {
		t.Run(s.name, func(t *testing.T) {
			server := serve(t, s.name)
			t.Run("worker kills", func(t *testing.T) { s.killWorkers(t, server) })
			t.Run("broker kills", func(t *testing.T) { s.killServer(t, server) })
			t.Run("trials", func(t *testing.T) { s.trialsPass(t, server) })
			t.Run("mutants", func(t *testing.T) { s.mutantsAreCaught(t, server) })
		})
	}
}

func (s *site) killWorkers(t *testing.T, server *controller.Server) {
	t.Helper()
	messages, kills := 3000, 50
	if full() {
		messages, kills = 30_000, 300
	}
	r := torture(t, controller.Config{
		Broker: s.name, Instance: server, Messages: messages, Kills: kills, Inbox: true, Seed: 1,
		DrainTimeout: 15 * time.Minute, Timeout: 45 * time.Minute,
	})
	passed(t, &r)
	if r.Trouble != "" {
		t.Errorf("publications: %s", r.Trouble)
	}
	if r.Kills != kills || r.Confirmed < messages || r.Interrupted < kills/5 || r.OutageRuns == 0 || r.DeadLettered == 0 || r.Quarantined == 0 {
		t.Errorf("the run was too easy")
	}
}

// passed fails unless every law held and nobody complained.
func passed(t *testing.T, r *controller.Report) {
	t.Helper()
	if !r.OK || r.Dup > 0 || r.Lost.Total() > 0 {
		t.Errorf("verdict %q, broken laws: %v", r.Verdict, r.Broken())
	}
	if r.LastWords != "" || r.Deaths > 0 || r.Stopping != "" {
		t.Errorf("%d workers ended by themselves; stopping: %s; workers: %s", r.Deaths, r.Stopping, r.LastWords)
	}
}

func (s *site) killServer(t *testing.T, server *controller.Server) {
	t.Helper()
	messages, kills, serverKills := 500, 10, s.serverKills
	if full() {
		messages, kills, serverKills = 5000, 50, s.fullServerKills
	}
	if serverKills == 0 {
		t.Skip("after a kill the server that stands for this broker keeps messages to itself")
	}
	r := torture(t, controller.Config{
		Broker: s.name, Instance: server, Messages: messages, Kills: kills, ServerKills: serverKills, Inbox: true, Seed: 1,
		DrainTimeout: 10 * time.Minute, Timeout: 30 * time.Minute,
	})
	passed(t, &r)
	if r.ServerKills != serverKills || r.Kills != kills || r.Confirmed < messages {
		t.Errorf("the run was too easy")
	}
}

func (s *site) trialsPass(t *testing.T, server *controller.Server) {
	t.Helper()
	for _, trial := range trials() {
		if !full() && !slices.Contains(s.trials, trial.name) {
			continue
		}
		t.Run(trial.name, func(t *testing.T) {
			c := trial.config
			c.Broker, c.Instance, c.Seed, c.DrainTimeout, c.Timeout = s.name, server, 1, 3*time.Minute, 10*time.Minute
			r := torture(t, c)
			if !r.OK {
				t.Errorf("verdict %q, broken laws: %v", r.Verdict, r.Broken())
			}
			if !trial.happened(&r) {
				t.Error("the run was too easy")
			}
		})
	}
}

func (s *site) mutantsAreCaught(t *testing.T, server *controller.Server) {
	t.Helper()
	for _, trial := range trials() {
		for _, name := range mutant.Names() {
			law, ok := trial.mutants[name]
			if !ok || !full() && !slices.Contains(s.mutants, name) {
				continue
			}
			t.Run(name, func(t *testing.T) {
				if why := s.immune[name]; why != "" {
					t.Skip(why)
				}
				c := trial.config
				c.Broker, c.Instance, c.Mutant = s.name, server, name
				c.DrainTimeout, c.Timeout = 6*time.Second, 5*time.Minute
				caught(t, c, law)
			})
		}
	}
}

// caught makes up to three runs, of which one has to break the law.
func caught(t *testing.T, c controller.Config, law checker.Law) {
	t.Helper()
	for c.Seed = 1; c.Seed <= 3; c.Seed++ {
		if r := torture(t, c); slices.Contains(r.Broken(), law) {
			return
		}
	}
	t.Errorf("not caught: %q was not broken", law)
}
