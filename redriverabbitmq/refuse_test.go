package redriverabbitmq_test

import (
	"errors"
	"maps"
	"os"
	"regexp"
	"slices"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/redrive-dev/redrive/broker"
)

// refusal is a queue that a user made wrongly, and the rule that it breaks.
type refusal struct {
	rule string
	// suffix names the queue after the source, and arguments make it.
	suffix    string
	arguments amqp.Table
	policy    string
	// only is the version on which it is refused, all if empty; blind says that it is
	// found without the management API too.
	only  string
	blind bool
}

func refusals() []refusal {
	quorum := func(more amqp.Table) amqp.Table {
		t := amqp.Table{"x-queue-type": "quorum", "x-delivery-limit": -1}
		maps.Copy(t, more)
		return t
	}
	return []refusal{
		{rule: "rabbitmq-source-delivery-limit", arguments: amqp.Table{"x-queue-type": "quorum", "x-delivery-limit": 20}, only: "4.0"},
		{rule: "rabbitmq-dlq-type", suffix: ".dlq", blind: true},
		{rule: "rabbitmq-dlq-delivery-limit", suffix: ".dlq", arguments: amqp.Table{"x-queue-type": "quorum", "x-delivery-limit": 20}},
		{rule: "rabbitmq-dlq-ttl", suffix: ".dlq.quarantine.crash", arguments: quorum(amqp.Table{"x-message-ttl": 3_600_000}), blind: true},
		{rule: "rabbitmq-dlq-ttl", suffix: ".dlq", arguments: quorum(nil), policy: `{"message-ttl": 3600000}`},
		{rule: "rabbitmq-dlq-drops", suffix: ".dlq", arguments: quorum(amqp.Table{"x-max-length": 1000}), blind: true},
		{rule: "rabbitmq-queue-expires", suffix: ".dlq", arguments: quorum(amqp.Table{"x-expires": 3_600_000}), blind: true},
		{rule: "rabbitmq-tier-type", suffix: ".retry.5s"},
		{rule: "rabbitmq-tier-ttl", suffix: ".retry.5s", arguments: quorum(amqp.Table{"x-message-ttl": 10, "x-dead-letter-exchange": ""})},
		{rule: "rabbitmq-tier-dead-lettering", suffix: ".retry.5s", arguments: quorum(amqp.Table{"x-message-ttl": 5000, "x-dead-letter-exchange": ""}), blind: true},
	}
}

// TestQueuesThatLoseMessagesAreRefused makes queues wrongly, on each version.
func TestQueuesThatLoseMessagesAreRefused(t *testing.T) {
	for _, version := range versions("4.0") {
		t.Run(version, func(t *testing.T) {
			r := newRig(t, version, over091)
			for _, c := range refusals() {
				for _, blind := range []bool{false, true} {
					if blind && !c.blind || c.only != "" && c.only != version {
						continue
					}
					t.Run(c.rule, func(t *testing.T) { refused(t, r, c, blind, version) })
				}
			}
			t.Run("UnsetLimit", func(t *testing.T) { unsetLimit(t, r, version) })
		})
	}
}

func refused(t *testing.T, r *rig, c refusal, blind bool, version string) {
	t.Helper()
	e := newBench(t, r, func(c *config) {
		c.NewQueueWait = -1
		if blind {
			c.ManagementURL = ""
		}
	})
	arguments := amqp.Table{}
	for name, v := range c.arguments {
		if name == "x-delivery-limit" && v == -1 && version == "3.10" {
			continue // It does not know that.
		}
		arguments[name] = v
	}
	e.declare(e.source+c.suffix, arguments)
	if c.policy != "" {
		e.policy(e.source+c.suffix, c.policy)
	}
	err := e.b.Topology().Ensure(t.Context(), broker.Spec{Source: e.source})
	for late := newDeadline(); err == nil && c.policy != "" && !late(); { // A policy takes a moment.
		err = e.b.Topology().Ensure(t.Context(), broker.Spec{Source: e.source})
	}
	var refused *broker.RefusedError
	if !errors.As(err, &refused) {
		t.Fatalf("ensure: %v, want a RefusedError", err)
	}
	if !slices.ContainsFunc(refused.Problems, func(p broker.Problem) bool {
		return p.Rule == c.rule && p.Queue == e.source+c.suffix && p.What != "" && p.Remedy != ""
	}) {
		t.Errorf("problems %v, want rule %s for %s", refused.Problems, c.rule, e.source+c.suffix)
	}
	if _, err := e.b.Open(t.Context(), broker.Spec{Source: e.source}); !errors.As(err, &refused) {
		t.Errorf("open: %v, want a RefusedError", err)
	}
	accept := make([]string, 0, len(refused.Problems))
	for _, p := range refused.Problems {
		accept = append(accept, p.Rule)
	}
	if err := e.b.Topology().Ensure(t.Context(), broker.Spec{Source: e.source, Accept: accept}); err != nil {
		t.Errorf("ensure with the rule accepted: %v", err)
	}
}

// unsetLimit is the default of RabbitMQ 4, which ends messages; a policy repairs
// it while the queue is in use.
func unsetLimit(t *testing.T, r *rig, version string) {
	t.Helper()
	e := newBench(t, r, func(c *config) { c.NewQueueWait = -1 })
	e.declare(e.source+".dlq", amqp.Table{"x-queue-type": "quorum"})
	e.declare(e.source, amqp.Table{"x-queue-type": "quorum"})
	want := map[string][]string{
		"3.10": nil, "4.0": {"rabbitmq-source-delivery-limit", "rabbitmq-dlq-delivery-limit"}, "4.3": {"rabbitmq-dlq-delivery-limit"},
	}[version]
	err := e.b.Topology().Ensure(t.Context(), broker.Spec{Source: e.source})
	var got []string
	if refused, ok := errors.AsType[*broker.RefusedError](err); ok {
		for _, p := range refused.Problems {
			got = append(got, p.Rule)
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("rules %v, want %v; %v", got, want, err)
	}
	if len(want) == 0 {
		return
	}
	e.policy(e.source, `{"delivery-limit": 1000}`)
	e.policy(e.source+".dlq", `{"delivery-limit": -1}`)
	deadline := newDeadline()
	for {
		err = e.b.Topology().Ensure(t.Context(), broker.Spec{Source: e.source})
		if err == nil || deadline() {
			break
		}
	}
	if err != nil {
		t.Errorf("ensure after the policies were set: %v", err)
	}
}

// TestRulesAreTested holds every rule to a test.
func TestRulesAreTested(t *testing.T) {
	raw, err := os.ReadFile("refuse.go")
	if err != nil {
		t.Fatal(err)
	}
	tested := map[string]bool{
		// What a test on these servers cannot make: see the reasons.
		"rabbitmq-feature-flag":       true, // A flag that is on cannot be turned off.
		"rabbitmq-delayed-exchange":   true, // The plugin is not in Debian's package.
		"rabbitmq-source-auto-delete": true, // A durable queue with auto-delete is the same check.
		"rabbitmq-queue-not-durable":  true, // Quorum queues are always durable.
		"rabbitmq-heartbeats-type":    true, // The queue is shared by all tests of a vhost.
	}
	for _, c := range refusals() {
		tested[c.rule] = true
	}
	for _, m := range regexp.MustCompile(`= "(rabbitmq-[a-z-]+)"`).FindAllSubmatch(raw, -1) {
		if !tested[string(m[1])] {
			t.Errorf("no test for rule %s", m[1])
		}
	}
}
