package redrivenats_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/brokertest"
	"github.com/redrive-dev/redrive/internal/natstest"
	"github.com/redrive-dev/redrive/redrivenats"
)

// guidePermissions is the user of the NATS guide, as the guide has it.
func guidePermissions(t *testing.T) string {
	t.Helper()
	guide, err := os.ReadFile("../docs/guides/nats.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?s)user: redrive, password: \$NATS_REDRIVE_PASSWORD\n\s*(permissions \{.*?subscribe: \["_INBOX.>"\]\s*\})`).FindSubmatch(guide)
	if found == nil {
		t.Fatal("the guide has no permissions for the user redrive")
	}
	return string(found[1])
}

// limited is a server whose user redrive has these permissions.
func limited(t *testing.T, permissions string) *natstest.Server {
	t.Helper()
	return natstest.Start(t, natstest.Options{
		Config: fmt.Sprintf(`accounts { ORDERS { jetstream: enabled, users: [
			{ user: redrive, password: "hunter2", %s }
			{ user: admin, password: "admin" }
		] } }`, permissions),
		Client: []nats.Option{nats.UserInfo("admin", "admin")},
	})
}

// TestPermissionsOfTheGuide runs the suite as a user that may do what the guide
// lists and nothing else.
func TestPermissionsOfTheGuide(t *testing.T) {
	server := limited(t, guidePermissions(t))
	r := &rig{t: t, server: server, raw: server.Connect(), conns: map[broker.Broker]*nats.Conn{}, user: nats.UserInfo("redrive", "hunter2")}
	h := r.harness()
	unique := brokertest.Harness{}.WithDefaults().Queue
	h.Queue = func(bt brokertest.T, name string) string {
		return "events." + unique(bt, name) // The guide's user may publish there.
	}
	brokertest.RunCases(t, h, mostCases())
	t.Run("inbox", func(t *testing.T) {
		inbox, err := r.open(t).OpenInbox(t.Context(), redrivenats.InboxConfig{})
		if err != nil {
			t.Fatal(err)
		}
		c, err := inbox.Claim(t.Context(), "k", "g", "f", time.Minute)
		if err == nil {
			err = errors.Join(inbox.Extend(t.Context(), c.Claim, time.Minute), inbox.Complete(t.Context(), c.Claim))
		}
		if err != nil {
			t.Error(err)
		}
	})
}

// TestMissingPermissionIsNamed takes one permission of the guide away at a time:
// the start says which.
func TestMissingPermissionIsNamed(t *testing.T) {
	t.Parallel()
	all := guidePermissions(t)
	for name, c := range map[string]struct{ without, with, missing string }{
		"account":     {`"$JS.API.INFO"`, ``, `publish to "$JS.API.INFO"`},
		"retries":     {`"redrive.>"`, `"redrive.dlq.>"`, `publish to "redrive.sched.orders_2eretry.`},
		"letters":     {`"redrive.>"`, `"redrive.sched.>", "redrive.retry.>"`, `publish to "redrive.dlq.orders_2edlq"`},
		"notes":       {`"$KV.redrive_marks.>"`, ``, `publish to "$KV.redrive_marks.probe"`},
		"receiving":   {`"$JS.API.CONSUMER.MSG.NEXT.*.*"`, ``, `publish to "$JS.API.CONSUMER.MSG.NEXT.redrive_src_orders.redrive_orders"`},
		"streams":     {`"$JS.API.STREAM.INFO.*",`, ``, `publish to "$JS.API.STREAM.INFO.`},
		"all answers": {`"_INBOX.>"`, `"elsewhere.>"`, `subscribe to "_INBOX.`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if !strings.Contains(all, c.without) {
				t.Fatalf("the guide does not list %s", c.without)
			}
			server := limited(t, strings.Replace(all, c.without, c.with, 1))
			err := connectAndOpen(t, server.URL)
			var missing *redrivenats.PermissionError
			if err == nil || !strings.Contains(err.Error(), c.missing) || !errors.As(err, &missing) {
				t.Errorf("without %s: %v, want an error that names %s", c.without, err, c.missing)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%v tells the password", err)
			}
		})
	}
}

func connectAndOpen(t *testing.T, url string) error {
	t.Helper()
	b, err := redrivenats.Connect(t.Context(), redrivenats.Config{
		URL: url, User: "redrive", Password: "hunter2", PublishTimeout: time.Second,
	})
	if err != nil {
		return err
	}
	defer func() { _ = b.Close(context.WithoutCancel(t.Context())) }()
	_, err = b.Open(t.Context(), broker.Spec{Source: "orders"})
	return err
}
