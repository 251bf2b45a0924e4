package redriverabbitmq

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redrive-dev/redrive/broker"
)

// native reports whether the server speaks AMQP 1.0 by itself. Before 4.0 a plugin
// translates, and knows neither annotations nor quorum queues' settlements.
func (s server) native() bool { return s.atLeast(4, 0, 0) }

// delays reports whether the server delays single messages.
func (s server) delays() bool { return s.atLeast(4, 3, 0) }

// checkProtocol refuses a protocol that the server does not speak.
func (s server) checkProtocol(p Protocol) error {
	if p == Protocol10 && !s.native() {
		return fmt.Errorf("redriverabbitmq: Protocol: RabbitMQ %s does not speak AMQP 1.0 by itself: upgrade to 4.0 or newer, or set it to %q", s.version, ProtocolAuto)
	}
	return nil
}

// overAMQP10 chooses the protocol for a source. By itself the adapter takes AMQP 1.0
// where it is certain that one settlement dead-letters: where it is not, copies are
// made, and a copy of what came over AMQP 1.0 is without the headers that AMQP 1.0
// does not carry.
func (b *Broker) overAMQP10(ctx context.Context, source string) (bool, error) {
	if !b.server.native() || b.config.Protocol == Protocol091 || b.config.Protocol == ProtocolAuto && b.manage == nil {
		return false, nil
	}
	found, err := b.look(ctx, nativeName(source))
	switch {
	case err != nil:
		return false, err
	case found.kind == "":
		return true, nil // It is made as it has to be.
	case b.config.Protocol == Protocol10 && found.kind != kindQuorum:
		return false, fmt.Errorf("%q is a %s queue, which does not confirm what AMQP 1.0 settles: make it a quorum queue, or set Protocol to %q: %w", source, found.kind, Protocol091, broker.ErrUnsupported)
	case b.config.Protocol == Protocol10:
		return true, nil
	}
	return b.nativeLetters(ctx, nativeName(source)) == nativeName(broker.NamesFor(source, "").DeadLetter), nil
}

// nativeLetters returns the queue to which the broker moves what is undeliverable in
// a queue, if it is certain that it arrives: the management API shows that the queue
// dead-letters at least once, that it refuses what is too much, and that the target
// is a queue that keeps letters for ever. Otherwise it returns nothing: without all
// of this the broker would drop the message without a word.
func (b *Broker) nativeLetters(ctx context.Context, queue string) string {
	if b.manage == nil || !b.server.native() {
		return ""
	}
	from, err := b.look(ctx, queue)
	if err != nil || from.kind != kindQuorum {
		return "" // What cannot be seen is not certain.
	}
	s := settings{from.info}
	exchange, there := s.value(argExchange)
	if !there || exchange != "" || s.text(argStrategy) != atLeastOnce || s.text(argOverflow) != rejectPublish {
		return ""
	}
	target := s.text(argKey)
	if target == "" {
		return ""
	}
	to, err := b.look(ctx, target)
	if err != nil || to.kind != kindQuorum || len(b.problems(plan{name: target, role: roleLetters}, to)) > 0 {
		return ""
	}
	return target
}

// capsNative adds what consuming over AMQP 1.0 changes.
func (b *Broker) capsNative(ctx context.Context, queue string, l look, caps *broker.Caps) {
	if broker.KindOf(queue) != broker.KindSource {
		return
	}
	if native, err := b.overAMQP10(ctx, queue); err != nil || !native {
		return
	}
	caps.MaxEnvelope = maxEnvelope10
	caps.Notes = append(caps.Notes,
		"Messages are consumed over AMQP 1.0, which carries no header that is a table or a list: handlers do not see those, and a copy, as in a quarantine, is without them.")
	if b.server.delays() {
		caps.MaxRelease = maxRelease10
	}
	if l.kind != "" && b.nativeLetters(ctx, nativeName(queue)) == "" {
		caps.Notes = append(caps.Notes, "It is not certain that the queue dead-letters at least once into a queue without limits: letters are confirmed copies.")
	}
}

// addWaiting counts retries that wait in their source as what they are.
func (b *Broker) addWaiting(ctx context.Context, retry string, stats *broker.Stats) error {
	if broker.KindOf(retry) != broker.KindRetry || !b.server.delays() {
		return nil
	}
	source, ok := b.sourceOf(retry)
	if !ok {
		return nil
	}
	info, err := b.manage.queue(ctx, nativeName(source))
	if err != nil && !errors.Is(err, errNotFound) {
		return err
	}
	stats.Delayed += info.Delayed
	return nil
}

// sourceOf finds the source of a retry queue: among those that were ensured here, else
// by its name.
func (b *Broker) sourceOf(retry string) (string, bool) {
	for name, kind := range b.known() {
		if kind == broker.KindSource && broker.NamesFor(name, "").Retry == retry {
			return name, true
		}
	}
	name := strings.TrimSuffix(retry, ".retry")
	return name, broker.NamesFor(name, "").Retry == retry
}
