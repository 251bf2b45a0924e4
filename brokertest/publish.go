package brokertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redrive-dev/redrive/broker"
)

func publishCases() []Case {
	return []Case{
		{Name: "caps-are-consistent", Promise: "Caps name the server and agree with each other and with Letters.Mode", run: capsConsistent},
		{Name: "publish-confirms-each", Promise: "Publish returns one result per message, and each nil is a stored message", Proves: []string{"confirmed-or-error"}, run: publishEach},
		{Name: "publish-repeat-is-dropped", Promise: "a publish id repeated within DedupeWindow makes one message, and never none", run: publishRepeat},
		{Name: "publish-equal-bodies-are-two", Promise: "two publications with equal bodies are two messages", run: publishEqualBodies},
		{Name: "publish-too-large", Promise: "a message over the limit is a TooLargeError, and its neighbours are stored", run: publishTooLarge},
		{Name: "publish-cancelled", Promise: "a publication that failed for certain is not stored", Proves: []string{"confirmed-or-error"}, run: publishCancelled},
		{Name: "publish-unroutable", Promise: "a message for a queue nobody declared is refused or kept, never confirmed and lost", Proves: []string{"unroutable-refused"}, run: publishUnroutable},
		{Name: "publish-hostile-headers", Promise: "headers that steer a broker do not act when redrive publishes them", Proves: []string{"hostile-headers"}, run: publishHostile},
	}
}

func capsConsistent(e *env) {
	if e.caps.Server == "" {
		e.Errorf("Caps.Server is empty, want the server's name and version")
	}
	for name, d := range map[string]bool{
		"MaxDelay": e.caps.MaxDelay < 0, "MaxRelease": e.caps.MaxRelease < 0, "MaxHold": e.caps.MaxHold < 0,
		"DedupeWindow": e.caps.DedupeWindow < 0, "MaxMessage": e.caps.MaxMessage < 0, "MaxEnvelope": e.caps.MaxEnvelope < 0,
	} {
		if d {
			e.Errorf("Caps.%s is negative", name)
		}
	}
	if e.caps.MaxMessage > 0 && e.caps.MaxEnvelope > e.caps.MaxMessage {
		e.Errorf("MaxEnvelope %d is more than MaxMessage %d", e.caps.MaxEnvelope, e.caps.MaxMessage)
	}
	if got := e.lettersOf(e.names.DeadLetter).Mode(); got != e.caps.LettersMode {
		e.Errorf("Letters.Mode is %v, Caps say %v", got, e.caps.LettersMode)
	}
}

func publishEach(e *env) {
	if errs := e.b.Publish(e.ctx, nil); len(errs) != 0 {
		e.Errorf("publish of nothing returned %d results", len(errs))
	}
	sub := e.open(e.b, unhurried)
	want := e.send(5)
	got := bodies(e.receive(sub, 5))
	for _, body := range want {
		if got[body] != 1 {
			e.Errorf("confirmed message %q received %d times, want once", body, got[body])
		}
	}
	e.none(sub, e.h.Lease/2)
}

func publishRepeat(e *env) {
	sub := e.open(e.b, unhurried)
	m := broker.Outbound{Queue: e.source, ID: e.pubID("same"), Body: []byte("same")}
	e.publish(m)
	e.publish(m)
	e.publish(broker.Outbound{Queue: e.source, ID: e.pubID("other"), Body: []byte("other")})
	got, _ := e.tryReceive(sub, 3, e.h.Lease)
	n := bodies(got)
	if n["other"] != 1 {
		e.Errorf("another id was received %d times, want once", n["other"])
	}
	if n["same"] < 1 {
		e.Errorf("a repeated publication made no message")
	}
	if e.caps.DedupeWindow > 0 && n["same"] > 1 {
		e.Errorf("a repeat within the dedupe window of %v made %d messages", e.caps.DedupeWindow, n["same"])
	}
}

func publishEqualBodies(e *env) {
	sub := e.open(e.b, unhurried)
	for i := range 2 {
		e.publish(broker.Outbound{Queue: e.source, ID: e.pubID(fmt.Sprint("equal ", i)), Body: []byte("equal")})
	}
	a, b := e.one(sub), e.one(sub)
	if e.caps.StableIdentity && a.Identity() == b.Identity() {
		e.Errorf("two messages share the identity %v", a.Identity())
	}
}

func publishTooLarge(e *env) {
	sub := e.open(e.b, unhurried)
	if e.caps.MaxMessage == 0 {
		e.Logf("the broker names no limit")
		return
	}
	errs := e.b.Publish(e.ctx, []broker.Outbound{
		{Queue: e.source, ID: e.pubID("before"), Body: []byte("before")},
		{Queue: e.source, ID: e.pubID("huge"), Body: bytes.Repeat([]byte("x"), e.caps.MaxMessage+1)},
		{Queue: e.source, ID: e.pubID("after"), Body: []byte("after")},
	})
	if len(errs) != 3 || errs[0] != nil || errs[2] != nil {
		e.Fatalf("neighbours of a message that is too large: %v", errs)
	}
	var tooLarge *broker.TooLargeError
	if !errors.As(errs[1], &tooLarge) {
		e.Fatalf("message over the limit: %v, want a TooLargeError", errs[1])
	}
	if tooLarge.Size <= tooLarge.Limit {
		e.Errorf("TooLargeError with size %d and limit %d", tooLarge.Size, tooLarge.Limit)
	}
	if got := bodies(e.receive(sub, 2)); got["before"] != 1 || got["after"] != 1 {
		e.Errorf("received %v, want before and after", got)
	}
	e.none(sub, e.h.Lease/2)
}

func publishCancelled(e *env) {
	sub := e.open(e.b, unhurried)
	ctx, cancel := context.WithCancel(e.ctx)
	cancel()
	errs := e.b.Publish(ctx, []broker.Outbound{{Queue: e.source, ID: e.pubID("cancelled"), Body: []byte("cancelled")}})
	if len(errs) != 1 {
		e.Fatalf("publish of one message returned %d results", len(errs))
	}
	switch err := errs[0]; {
	case err == nil:
		e.one(sub)
	case !errors.Is(err, broker.ErrUnknown):
		e.none(sub, e.h.Lease/2)
	}
}

func publishUnroutable(e *env) {
	queue := e.h.Queue(e, "nobody")
	m := broker.Outbound{Queue: queue, ID: e.pubID("unroutable"), Body: []byte("unroutable")}
	errs := e.b.Publish(e.ctx, []broker.Outbound{m})
	if len(errs) != 1 {
		e.Fatalf("publish of one message returned %d results", len(errs))
	}
	if errs[0] != nil {
		if errors.Is(errs[0], broker.ErrUnknown) {
			e.Errorf("a message for a queue nobody declared: %v, want an error that is certain", errs[0])
		}
		return
	}
	sub := e.open(e.b, unhurried, func(s *broker.Spec) { s.Source = queue })
	if got := string(e.one(sub).Msg().Body); got != "unroutable" {
		e.Errorf("received %q", got)
	}
}

func publishHostile(e *env) {
	sub := e.open(e.b, unhurried)
	e.send(3)
	errs := e.b.Publish(e.ctx, []broker.Outbound{{Queue: e.source, ID: e.pubID("hostile"), Body: []byte("hostile"), Headers: HostileHeaders()}})
	want := 3
	if len(errs) == 1 && errs[0] == nil {
		want = 4
	}
	e.wait(hostileTTL)
	got := bodies(e.receive(sub, want))
	for i := range 3 {
		if body := fmt.Sprint("message ", i); got[body] != 1 {
			e.Errorf("%q received %d times after a publication with hostile headers, want once", body, got[body])
		}
	}
}

// HostileHeaders returns headers of a producer that, sent again on a copy, make
// brokers purge a stream, expire a letter, refuse it for ever, delay it or
// send it elsewhere.
func HostileHeaders() []broker.Header {
	var out []broker.Header
	for _, h := range []string{
		"Nats-Rollup=all", "Nats-TTL=1s", "Nats-Expected-Last-Sequence=999999", "Nats-Msg-Id=hostile",
		"expiration=1", "x-delay=86400000", "x-death=hostile", "CC=elsewhere", "BCC=elsewhere",
	} {
		name, value, _ := strings.Cut(h, "=")
		out = append(out, broker.Header{Name: name, Value: []byte(value)})
	}
	return out
}
