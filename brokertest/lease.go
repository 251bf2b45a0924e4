package brokertest

import (
	"time"

	"github.com/redrive-dev/redrive/broker"
)

func leaseCases() []Case {
	return []Case{
		{Name: "lease-expiry-redelivers", Promise: "an unsettled message comes again after its lease, not before, with Earlier + 1", run: leaseExpires},
		{Name: "lease-extend", Promise: "an extended delivery is given to nobody else", Proves: []string{"exclusive-lease"}, run: leaseExtend},
		{Name: "lease-is-exclusive", Promise: "two consumers of one group never hold one message while its lease is valid", Proves: []string{"exclusive-lease"}, run: leaseExclusive},
		{Name: "C4-client-dies", Promise: "what a dead client held comes to another after its lease, with its count and mark", run: clientDies},
		{Name: "C4-late-move-loses-nothing", Promise: "a move by a holder whose lease ran out loses nothing", run: lateMove},
		{Name: "C4-repeat-by-another-client", Promise: "a move repeated by another client after a crash makes at least one copy", run: repeatElsewhere},
	}
}

func leaseExpires(e *env) {
	sub := e.open(e.b)
	e.send(1)
	before := time.Now()
	first := e.one(sub)
	second := e.one(sub)
	e.notEarly(before.Add(e.h.Lease))
	e.counted(second, 1)
	if first.Identity() != second.Identity() {
		e.Errorf("identity %v became %v", first.Identity(), second.Identity())
	}
	third := e.one(sub)
	e.counted(third, 2)
	e.settle(third, broker.Done{})
	e.none(sub, 2*e.h.Lease)
}

func leaseExtend(e *env) {
	sub := e.open(e.b)
	other := e.open(e.h.Open(e))
	e.send(1)
	got, err := e.tryReceive(sub, 1, e.h.Tolerance)
	holder, idle := sub, other
	if err != nil {
		got, holder, idle = e.receive(other, 1), other, sub
	}
	d := got[0]
	for range 10 {
		if err := d.Extend(e.ctx, e.h.Lease); err != nil {
			e.Fatalf("extend: %v", err)
		}
		e.none(idle, e.h.Lease/3)
	}
	e.none(holder, e.h.Lease/3)
	e.settle(d, broker.Done{})
	e.none(idle, 2*e.h.Lease)
}

func leaseExclusive(e *env) {
	subs := []broker.Subscription{e.open(e.b, unhurried), e.open(e.h.Open(e), unhurried)}
	e.send(40)
	held := map[string]int{}
	var got []broker.Delivery
	for i := 0; len(got) < 40; i++ {
		more, _ := e.tryReceive(subs[i%2], 5, e.h.Tolerance/10)
		for _, d := range more {
			if held[string(d.Msg().Body)]++; held[string(d.Msg().Body)] > 1 {
				e.Fatalf("%q is held twice", d.Msg().Body)
			}
		}
		got = append(got, more...)
		if e.ctx.Err() != nil {
			e.Fatalf("received %d of 40", len(got))
		}
	}
	for _, d := range got {
		e.settle(d, broker.Done{})
	}
	for _, sub := range subs {
		e.none(sub, e.h.Lease/2)
	}
}

func clientDies(e *env) {
	dying := e.h.Open(e)
	sub := e.open(dying)
	bodies := e.send(2)
	for _, d := range e.receive(sub, 2) {
		if e.caps.Marks {
			if err := d.Mark(e.ctx, broker.Mark{StartedAlone: 1}); err != nil {
				e.Fatalf("mark: %v", err)
			}
		}
	}
	e.kill(dying)
	heir := e.open(e.b)
	seen := map[string]bool{}
	for len(seen) < len(bodies) {
		d := e.one(heir)
		seen[string(d.Msg().Body)] = true
		e.counted(d, 1)
		if e.caps.Marks {
			e.marked(d, broker.Mark{StartedAlone: 1})
		}
		e.settle(d, broker.Done{})
	}
	e.none(heir, 2*e.h.Lease)
}

func lateMove(e *env) {
	sub := e.open(e.b)
	e.send(1)
	late := e.one(sub)
	d := e.one(sub)
	dead := broker.Dead{Queue: e.names.DeadLetter, Envelope: e.envelope(d.Msg(), ""), PublishID: e.deadID(d, "")}
	_, lateErr := late.Settle(e.ctx, dead)
	_, err := d.Settle(e.ctx, dead)
	if lateErr != nil && err != nil {
		e.Errorf("neither holder could move the message: %v; %v", lateErr, err)
	}
	n := len(e.look(e.names.DeadLetter))
	if n < 1 || n > 1 && e.caps.DedupeWindow > 0 && e.caps.StableIdentity {
		e.Errorf("two holders of one copy made %d letters, want one", n)
	}
	e.none(sub, 2*e.h.Lease)
}

func repeatElsewhere(e *env) {
	dying := e.h.Open(e)
	sub := e.open(dying)
	e.send(1)
	d := e.one(sub)
	id, env := e.deadID(d, ""), e.envelope(d.Msg(), "")
	// The crash between copy and settlement: the copy is there, the source is not
	// settled.
	e.publish(broker.Outbound{Queue: e.names.DeadLetter, ID: id, Body: d.Msg().Body, Envelope: env})
	e.kill(dying)
	heir := e.open(e.b)
	e.settle(e.one(heir), broker.Dead{Queue: e.names.DeadLetter, Envelope: env, PublishID: id})
	n := len(e.look(e.names.DeadLetter))
	if n < 1 || n > 1 && e.caps.DedupeWindow > 0 {
		e.Errorf("a repeated dead-lettering made %d letters, want one", n)
	}
	e.none(heir, 2*e.h.Lease)
}
