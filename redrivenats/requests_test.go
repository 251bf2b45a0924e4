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
