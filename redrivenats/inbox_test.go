package redrivenats_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/redrive-dev/redrive/idempotency"
	"github.com/redrive-dev/redrive/idempotency/idempotencytest"
	"github.com/redrive-dev/redrive/internal/natstest"
	"github.com/redrive-dev/redrive/redrivenats"
)

var inboxes atomic.Int64

// openInbox opens an inbox in a bucket of its own.
func openInbox(t *testing.T, b *redrivenats.Broker, now func() time.Time) *redrivenats.Inbox {
	t.Helper()
	inbox, err := b.OpenInbox(t.Context(), redrivenats.InboxConfig{
		Bucket: fmt.Sprint("inbox", inboxes.Add(1)), Retention: idempotencytest.TTL, Now: now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return inbox
}

func TestInboxConformance(t *testing.T) {
	t.Parallel()
	for _, version := range append([]string{""}, oldServers...) {
		t.Run("server "+version, func(t *testing.T) {
			b := newBench(t, natstest.Options{Version: version})
			idempotencytest.Run(t, func(t *testing.T, now func() time.Time) idempotency.Store {
				t.Helper()
				return openInbox(t, b.b, now)
			})
		})
	}
}

func TestInboxRefusesABucketThatForgets(t *testing.T) {
	b := newBench(t, natstest.Options{})
	b.stream(jetstream.StreamConfig{
		Name: "KV_redrive_inbox", Subjects: []string{"$KV.redrive_inbox.>"}, MaxAge: time.Hour, MaxMsgsPerSubject: 5,
		MaxMsgs: 10, Discard: jetstream.DiscardOld, Storage: jetstream.MemoryStorage,
	})
	_, err := b.b.OpenInbox(t.Context(), redrivenats.InboxConfig{})
	for _, want := range []string{"max_age is 1h0m0s and the retention 168h0m0s", "history is not 1", "drops its oldest keys", "storage is memory"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	_, err = b.b.OpenInbox(t.Context(), redrivenats.InboxConfig{Bucket: "a.b", Retention: 1})
	for _, want := range []string{"Bucket:", "Retention:"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %q", err, want)
		}
	}
}

// TestInboxForgetsByAge: a released claim leaves a row that says nothing, and the
// server itself forgets rows.
func TestInboxForgetsByAge(t *testing.T) {
	b := newBench(t, natstest.Options{})
	inbox, err := b.b.OpenInbox(t.Context(), redrivenats.InboxConfig{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := inbox.Claim(t.Context(), "k", "g", "a fingerprint", time.Minute)
	if err != nil || r.State != idempotency.Claimed {
		t.Fatalf("claim: %v, %v", r.State, err)
	}
	if err := errors.Join(inbox.Extend(t.Context(), r.Claim, time.Minute), inbox.Release(t.Context(), r.Claim)); err != nil {
		t.Fatal(err)
	}
	stream, err := b.js.Stream(t.Context(), "KV_redrive_inbox")
	if err != nil {
		t.Fatal(err)
	}
	info := stream.CachedInfo()
	row, err := stream.GetMsg(t.Context(), info.State.LastSeq)
	if err != nil {
		t.Fatal(err)
	}
	if info.State.Msgs != 1 || strings.Contains(string(row.Data), base64.StdEncoding.EncodeToString([]byte("a fingerprint"))) {
		t.Errorf("%d rows after a release, the last one %s: want one without the fingerprint", info.State.Msgs, row.Data)
	}
	const week = 7 * 24 * time.Hour
	if info.Config.MaxAge != week {
		t.Errorf("rows are kept for %v, want %v", info.Config.MaxAge, week)
	}
	if _, err := inbox.Claim(t.Context(), "k", "g", "f", week+1); err == nil || !strings.Contains(err.Error(), "retention") {
		t.Errorf("a lease over the retention: %v, want it refused", err)
	}
}

// TestInboxOverServerKills: while the server is killed again and again, no key is
// held by two at once, a key that was completed stays completed, and in the end
// all are.
func TestInboxOverServerKills(t *testing.T) {
	b := newBench(t, natstest.Options{})
	inbox, err := b.b.OpenInbox(t.Context(), redrivenats.InboxConfig{})
	if err != nil {
		t.Fatal(err)
	}
	proveInbox(t, inbox, 5, func() {
		b.server.Kill()
		b.server.Restart()
	})
}

// proveInbox lets workers complete keys while the server is hurt.
func proveInbox(t *testing.T, inbox *redrivenats.Inbox, kills int, hurt func()) {
	t.Helper()
	const keys, workers, lease = 200, 6, 3 * time.Second
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	p := &inboxProof{t: t, inbox: inbox, lease: lease, holder: map[int]time.Time{}, done: map[int]int64{}}
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for round := 0; ctx.Err() == nil && !p.complete(keys); round++ {
				p.handle(ctx, round%keys)
			}
		})
	}
	for killed := range kills {
		for p.count() < keys*(killed+1)/(kills+2) && ctx.Err() == nil {
			idle(ctx)
		}
		hurt()
	}
	all.Wait()
	if !p.complete(keys) {
		t.Fatalf("%d of %d keys were completed", p.count(), keys)
	}
	for n := range keys {
		r, err := inbox.Claim(t.Context(), strconv.Itoa(n), "g", "f", lease)
		if err != nil || r.State != idempotency.Done {
			t.Errorf("key %d at the end: %v, %v, want done", n, r.State, err)
		}
	}
}

// inboxProof is what the workers of a test know for certain.
type inboxProof struct {
	t     *testing.T
	inbox *redrivenats.Inbox
	lease time.Duration

	mu     sync.Mutex
	holder map[int]time.Time
	done   map[int]int64
}

func (p *inboxProof) complete(keys int) bool { return p.count() == keys }

func (p *inboxProof) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.done)
}

func (p *inboxProof) handle(ctx context.Context, n int) {
	asked := time.Now()
	r, err := p.inbox.Claim(ctx, strconv.Itoa(n), "g", "f", p.lease)
	if err != nil {
		idle(ctx) // The state is unknown: a worker would hold the message.
		return
	}
	p.mu.Lock()
	switch {
	case r.State == idempotency.Done || r.State == idempotency.Busy:
		p.mu.Unlock()
		return
	case r.State != idempotency.Claimed:
		p.t.Errorf("key %d: %v", n, r.State)
	case p.done[n] != 0:
		p.t.Errorf("key %d was claimed after it was completed", n)
	case asked.Before(p.holder[n]):
		p.t.Errorf("key %d was claimed while another claim held it", n)
	}
	p.holder[n] = r.Claim.Until
	p.mu.Unlock()
	for ctx.Err() == nil {
		err := p.inbox.Complete(ctx, r.Claim)
		if errors.Is(err, idempotency.ErrFenced) {
			return // Its lease ended during an outage, and another one has it.
		}
		if err == nil {
			p.mu.Lock()
			p.done[n] = r.Claim.Token
			p.mu.Unlock()
			return
		}
		idle(ctx)
	}
}

// idle waits a moment between tries.
func idle(ctx context.Context) {
	timer := time.NewTimer(10 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func BenchmarkInboxClaimComplete(b *testing.B) {
	server := natstest.Start(b, natstest.Options{})
	broker, err := redrivenats.Connect(b.Context(), redrivenats.Config{URL: server.URL, Token: server.Token})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = broker.Close(b.Context()) }()
	inbox, err := broker.OpenInbox(b.Context(), redrivenats.InboxConfig{})
	if err != nil {
		b.Fatal(err)
	}
	var n atomic.Int64
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r, err := inbox.Claim(b.Context(), strconv.FormatInt(n.Add(1), 10), "g", "f", time.Minute)
			if err != nil {
				b.Error(err)
				return
			}
			if err := inbox.Complete(b.Context(), r.Claim); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
}
