package redrivenats

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/internal/natstest"
)

// silent is a server with somebody who takes every message and never answers.
func silent(t *testing.T, patience time.Duration) (*natstest.Server, *requests) {
	t.Helper()
	server := natstest.Start(t, natstest.Options{})
	listener := server.Connect()
	if _, err := listener.Subscribe("silent", func(*nats.Msg) {}); err != nil {
		t.Fatal(err)
	}
	if err := listener.Flush(); err != nil {
		t.Fatal(err)
	}
	r, err := newRequests(server.Connect(nats.ReconnectBufSize(-1)), patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.close(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			t.Error(err)
		}
	})
	return server, r
}

func TestNoConfirmationIsAnUnknownOutcome(t *testing.T) {
	_, r := silent(t, 50*time.Millisecond)
	if _, err := r.publish(t.Context(), &nats.Msg{Subject: "silent"}); !errors.Is(err, broker.ErrUnknown) {
		t.Errorf("no answer in time: %v, want ErrUnknown", err)
	}
	_, patient := silent(t, time.Minute)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := patient.publish(ctx, &nats.Msg{Subject: "silent"}); !errors.Is(err, broker.ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no answer until the context ended: %v, want ErrUnknown and why", err)
	}
	if _, err := r.publish(t.Context(), &nats.Msg{Subject: "nobody"}); !errors.Is(err, broker.ErrUnroutable) || errors.Is(err, broker.ErrUnknown) {
		t.Errorf("nobody listens: %v, want ErrUnroutable, which is certain", err)
	}
	if n := len(r.open); n != 0 {
		t.Errorf("%d requests are still kept", n)
	}
}

func TestLostConnectionIsAnUnknownOutcome(t *testing.T) {
	server, r := silent(t, time.Minute)
	q, err := r.send(&nats.Msg{Subject: "silent"})
	if err != nil {
		t.Fatal(err)
	}
	server.Kill()
	if _, err := q.wait(t.Context(), time.Minute); !errors.Is(err, broker.ErrUnknown) {
		t.Errorf("connection lost: %v, want ErrUnknown", err)
	}
	for r.nc.IsConnected() {
		if t.Context().Err() != nil {
			t.Fatal("the connection is not noticed as lost")
		}
	}
	if _, err := r.send(&nats.Msg{Subject: "silent"}); err == nil || errors.Is(err, broker.ErrUnknown) {
		t.Errorf("not connected: %v, want a certain error", err)
	}
}

func TestConfirmations(t *testing.T) {
	sent := &nats.Msg{Subject: "s", Data: []byte("body")}
	var large *broker.TooLargeError
	for answer, want := range map[string]func(error) bool{
		`{"stream":"S","seq":7}`:                  func(err error) bool { return err == nil },
		`{"stream":"S","seq":7,"duplicate":true}`: func(err error) bool { return err == nil },
		``:               func(err error) bool { return errors.Is(err, broker.ErrUnknown) },
		`{}`:             func(err error) bool { return errors.Is(err, broker.ErrUnknown) },
		`{"stream":"S"}`: func(err error) bool { return errors.Is(err, broker.ErrUnknown) },
		`+OK`:            func(err error) bool { return errors.Is(err, broker.ErrUnknown) },
		`{"error":{"code":503,"err_code":10077}}`:       func(err error) bool { return errors.Is(err, broker.ErrFull) },
		`{"error":{"code":400,"err_code":10054}}`:       func(err error) bool { return errors.As(err, &large) },
		`{"error":{"code":400,"err_code":10060}}`:       func(err error) bool { return err != nil && !errors.Is(err, broker.ErrUnknown) },
		`{"error":{"code":503,"err_code":10047},"x":1}`: func(err error) bool { return errors.Is(err, broker.ErrFull) },
	} {
		if _, err := parsePubAck(&nats.Msg{Data: []byte(answer)}, sent); !want(err) {
			t.Errorf("answer %s: %v", answer, err)
		}
	}
}

// answers keeps what a taker was told.
type answers chan error

func (a answers) take(_ *nats.Msg, err error) { a <- err }

// A request that nobody waits for ends in every way in which a wait ends.
func TestATakerIsToldOnce(t *testing.T) {
	server, r := silent(t, time.Minute)
	promise := func(ctx context.Context, subject string, patience time.Duration) (*request, answers) {
		told := make(answers, 2)
		q := &request{taker: told}
		if err := r.promiseWord(ctx, q, subject, nil, patience); err != nil {
			t.Fatal(err)
		}
		return q, told
	}
	cancelled, cancel := context.WithCancel(t.Context())
	_, late := promise(t.Context(), "silent", 10*time.Millisecond)
	_, ended := promise(cancelled, "silent", time.Minute)
	_, nobody := promise(t.Context(), "nobody", time.Minute)
	hurried, soon := promise(t.Context(), "silent", time.Minute)
	given, up := promise(t.Context(), "silent", time.Minute)
	_, lost := promise(t.Context(), "silent", time.Minute)
	cancel()
	r.hurry(hurried, time.Millisecond)
	given.abandon()
	given.abandon()
	for _, c := range []struct {
		name string
		told answers
		want error
	}{
		{"no answer in time", late, errTimeout},
		{"context ended", ended, context.Canceled},
		{"nobody listens", nobody, errNoResponders},
		{"hurried", soon, errTimeout},
		{"abandoned", up, errForgotten},
	} {
		if err := <-c.told; !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	server.Kill()
	if err := <-lost; !errors.Is(err, broker.ErrUnknown) {
		t.Errorf("connection lost: %v, want ErrUnknown", err)
	}
	for _, told := range []answers{late, ended, nobody, soon, up, lost} {
		if len(told) > 0 {
			t.Errorf("told again: %v", <-told)
		}
	}
	if err := r.promiseWord(cancelled, &request{taker: lost}, "silent", nil, time.Minute); !errors.Is(err, context.Canceled) {
		t.Errorf("promise after the context has ended: %v, want its error", err)
	}
}

func TestClosingTellsTakers(t *testing.T) {
	_, r := silent(t, time.Minute)
	told := make(answers, 2)
	if err := r.promiseMsg(t.Context(), &request{taker: told}, &nats.Msg{Subject: "silent"}, time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := r.close(); err != nil {
		t.Fatal(err)
	}
	if err := <-told; !errors.Is(err, broker.ErrUnknown) || !errors.Is(err, broker.ErrClosed) {
		t.Errorf("closed: %v, want ErrUnknown and ErrClosed", err)
	}
}
