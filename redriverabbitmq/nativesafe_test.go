package redriverabbitmq_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/internal/servertest"
	"github.com/redrive-dev/redrive/redriverabbitmq"
	"github.com/redrive-dev/redrive/redrivetest"
)

// sharedRig is a rig on a server that other tests use too.
func sharedRig(t *testing.T, version string, edit func(*config)) *rig {
	t.Helper()
	return &rig{
		t: t, server: servertest.RabbitMQ(t, version, servertest.Options{Shared: true}), marks: &redrivetest.Marks{},
		edit: edit, links: map[broker.Broker]*link{},
	}
}

// declare makes a queue, which is deleted at the end with what belongs to it.
func (r *rig) declare(name string, arguments amqp.Table) {
	r.t.Helper()
	if _, err := r.plain(r.t).QueueDeclare(name, true, false, false, false, arguments); err != nil {
		r.t.Fatalf("declare %s: %v", name, err)
	}
}

// oneDelivery stores a message, receives it and returns it.
func (r *rig) oneDelivery(b broker.Broker, spec broker.Spec, m broker.Message) broker.Delivery {
	r.t.Helper()
	sub, err := b.Open(r.t.Context(), spec)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = sub.Close(context.WithoutCancel(r.t.Context())) })
	r.publishRaw(r.t, spec.Source, m)
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	for {
		got, err := sub.Receive(ctx, 1)
		if err != nil {
			r.t.Fatal(err)
		}
		if len(got) > 0 {
			return got[0]
		}
	}
}

// oneLetter waits for a letter.
func (r *rig) oneLetter(b broker.Broker, queue string) broker.Letter {
	r.t.Helper()
	letters, err := b.Letters(r.t.Context(), queue)
	if err != nil {
		r.t.Fatal(err)
	}
	var got []broker.Letter
	for end := time.Now().Add(time.Minute); len(got) == 0; settleDown() {
		if time.Now().After(end) {
			r.t.Fatalf("no letter came to %s", queue)
		}
		err := letters.Drain(r.t.Context(), 10, func(_ context.Context, batch []broker.Letter) error {
			got = append(got, batch...)
			return nil
		})
		if err != nil {
			r.t.Fatal(err)
		}
	}
	return got[0]
}

// R6, R8: one settlement dead-letters only where the queue shows that the letter
// arrives and stays; everywhere else the letter is a confirmed copy.
func TestNativeDeadLetteringOnlyWhereItIsSafe(t *testing.T) {
	quorum := func(more amqp.Table) func(string) amqp.Table {
		return func(dlq string) amqp.Table {
			out := amqp.Table{"x-queue-type": "quorum", "x-delivery-limit": int64(-1)}
			for name, v := range more {
				if v == "dlq" {
					v = dlq
				}
				out[name] = v
			}
			return out
		}
	}
	safe := amqp.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dlq", "x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}
	but := func(name string, v any) amqp.Table {
		out := maps.Clone(safe)
		out[name] = v
		if v == nil {
			delete(out, name)
		}
		return out
	}
	for name, tt := range map[string]struct {
		source func(dlq string) amqp.Table
		dlq    amqp.Table
		native bool
	}{
		"made by redrive":               {native: true},
		"made like that":                {source: quorum(safe), native: true},
		"no dead-lettering":             {source: quorum(nil)},
		"at most once":                  {source: quorum(but("x-dead-letter-strategy", nil))},
		"drops the oldest":              {source: quorum(but("x-overflow", nil))},
		"to a queue that is not there":  {source: quorum(but("x-dead-letter-routing-key", "nobody"))},
		"through an exchange":           {source: quorum(but("x-dead-letter-exchange", "amq.direct"))},
		"letters with a delivery limit": {source: quorum(safe), dlq: amqp.Table{"x-queue-type": "quorum"}},
		"letters in a classic queue":    {source: quorum(safe), dlq: amqp.Table{"x-queue-type": "classic"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := sharedRig(t, "4.3", over10)
			source := fmt.Sprintf("safe %d", time.Now().UnixNano())
			t.Cleanup(func() { r.remove(t, source) })
			names := broker.NamesFor(source, "")
			if tt.dlq != nil {
				r.declare(names.DeadLetter, tt.dlq)
			}
			if tt.source != nil {
				r.declare(source, tt.source(names.DeadLetter))
			}
			b, _ := r.open(t, func(*config) {})
			d := r.oneDelivery(b, broker.Spec{Source: source, Accept: []string{redriverabbitmq.RuleDeadLetterLimit, redriverabbitmq.RuleDeadLetterType}}, broker.Message{Body: []byte("m")})
			receipt, err := d.Settle(t.Context(), broker.Dead{Queue: names.DeadLetter, Envelope: []byte("why"), PublishID: "dl:1"})
			if err != nil || receipt.Native != tt.native {
				t.Errorf("moved natively: %v, %v, want %v", receipt.Native, err, tt.native)
			}
			if l := r.oneLetter(b, names.DeadLetter); string(l.Message.Body) != "m" || string(l.Message.Envelope) != "why" {
				t.Errorf("the letter is %q with %q", l.Message.Body, l.Message.Envelope)
			}
		})
	}
}

// By itself the adapter takes AMQP 1.0 where that is safe, and AMQP 0-9-1 elsewhere.
func TestChoiceOfProtocol(t *testing.T) {
	for _, version := range versions("4.3") {
		t.Run(version, func(t *testing.T) {
			r := sharedRig(t, version, nil)
			source := fmt.Sprintf("choice %d", time.Now().UnixNano())
			t.Cleanup(func() { r.remove(t, source) })
			names := broker.NamesFor(source, "")
			for _, managed := range []bool{true, false} {
				b, _ := r.open(t, func(c *config) {
					if !managed {
						c.ManagementURL = ""
					}
				})
				d := r.oneDelivery(b, broker.Spec{Source: source}, broker.Message{Body: []byte("m")})
				receipt, err := d.Settle(t.Context(), broker.Dead{Queue: names.DeadLetter, PublishID: "dl:1"})
				if want := managed && version != "3.10"; err != nil || receipt.Native != want {
					t.Errorf("with the management API %v: moved natively: %v, %v, want %v", managed, receipt.Native, err, want)
				}
			}
			if version != "3.10" {
				return
			}
			_, err := redriverabbitmq.Connect(t.Context(), config{URL: r.server.URL, Protocol: redriverabbitmq.Protocol10})
			if err == nil || !strings.Contains(err.Error(), "does not speak AMQP 1.0") {
				t.Errorf("AMQP 1.0 on %s: %v", version, err)
			}
		})
	}
}

// R13: AMQP 1.0 carries no header that is a table. Handlers do not see it, which Caps
// say, and the letter, which is no copy, has it all the same.
func TestR13TablesOverAMQP10(t *testing.T) {
	for _, version := range nativeVersions("4.3") {
		t.Run(version, func(t *testing.T) {
			r := sharedRig(t, version, over10)
			source := fmt.Sprintf("tables %d", time.Now().UnixNano())
			t.Cleanup(func() { r.remove(t, source) })
			b, _ := r.open(t, func(*config) {})
			sub, err := b.Open(t.Context(), broker.Spec{Source: source})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = sub.Close(context.WithoutCancel(t.Context())) }()
			p := amqp.Publishing{Body: []byte("m"), Headers: amqp.Table{"table": amqp.Table{"a": int64(1)}, "number": int64(7)}}
			if err := r.plain(t).PublishWithContext(t.Context(), "", source, true, false, p); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var got []broker.Delivery
			for len(got) == 0 {
				if got, err = sub.Receive(ctx, 1); err != nil {
					t.Fatal(err)
				}
			}
			if _, ok := got[0].Msg().Header("table"); ok {
				t.Error("the handler sees the table: Caps say that it does not")
			}
			if n, _ := got[0].Msg().Header("number"); string(n) != "7" {
				t.Errorf("number is %q", n)
			}
			caps, err := b.Caps(t.Context(), source)
			if err != nil || !slices.ContainsFunc(caps.Notes, func(n string) bool { return strings.Contains(n, "no header that is a table") }) {
				t.Errorf("Caps do not say so: %v, %q", err, caps.Notes)
			}
			names := broker.NamesFor(source, "")
			if receipt, err := got[0].Settle(t.Context(), broker.Dead{Queue: names.DeadLetter, Envelope: []byte("why"), PublishID: "dl:1"}); err != nil || !receipt.Native {
				t.Errorf("native %v, %v", receipt.Native, err)
			}
			l := r.oneLetter(b, names.DeadLetter)
			if table, _ := l.Message.Header("table"); string(table) != `{"a":1}` {
				t.Errorf("the letter's table is %q", table)
			}
		})
	}
}
