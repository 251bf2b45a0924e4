package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/redrivetest"
)

// connection is a broker in memory that commands can close.
type connection struct{ broker.Broker }

func (connection) Close(context.Context) error { return nil }

// desk is a console with a configuration and a broker in memory.
type desk struct {
	*console
	broker *redrivetest.Broker
	dir    string
}

// newDesk returns a desk whose commands reach the broker that wrap makes of the
// one in memory.
func newDesk(t *testing.T, stdin string, wrap func(broker.Broker) broker.Broker) *desk {
	t.Helper()
	d := &desk{console: newConsole(stdin, false), broker: redrivetest.NewBroker(), dir: t.TempDir()}
	d.file(t, "redrive.yaml", "version: 1\nsubscriptions: [{source: orders, handler: {sink: discard}}]\n")
	if wrap == nil {
		wrap = func(b broker.Broker) broker.Broker { return b }
	}
	d.Services.Connect = func(context.Context, Connecting) (Connection, error) { return connection{wrap(d.broker)}, nil }
	return d
}

func (d *desk) file(t *testing.T, name, text string) string {
	t.Helper()
	name = filepath.Join(d.dir, name)
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	return name
}

// run runs a command line with empty output behind it.
func (d *desk) run(ctx context.Context, args ...string) int {
	d.out.Reset()
	d.err.Reset()
	return Main(ctx, d.App, append([]string{"--config", filepath.Join(d.dir, "redrive.yaml")}, args...))
}

// summary reads what publish -o json printed.
func (d *desk) summary(t *testing.T) publishSummary {
	t.Helper()
	var s publishSummary
	require.NoError(t, json.Unmarshal(d.out.Bytes(), &s), d.out.String())
	return s
}

// stored returns the bodies in a queue, in their order.
func (d *desk) stored(t *testing.T, queue string) []string {
	t.Helper()
	letters, err := d.broker.Letters(t.Context(), queue)
	require.NoError(t, err)
	found, _, err := letters.Scan(t.Context(), "", 100_000)
	require.NoError(t, err)
	out := make([]string, len(found))
	for i := range found {
		out[i] = string(found[i].Message.Body)
	}
	return out
}

func lines(n int) (text string, want []string) {
	for i := range n {
		want = append(want, fmt.Sprintf(`{"id":%d}`, i+1))
	}
	return strings.Join(want, "\n") + "\n", want
}

func TestPublish(t *testing.T) {
	t.Parallel()
	d := newDesk(t, "", nil)
	text, want := lines(2000)
	file := d.file(t, "orders.ndjson", text)
	args := []string{"publish", "orders", "--file", file, "--key", "k", "--header", "tenant=a=b", "--ttl", "1h", "-o", "json"}
	require.Equal(t, ExitOK, d.run(t.Context(), args...), d.err.String())
	s := d.summary(t)
	require.True(t, s.Complete)
	require.Equal(t, []int{2000, 2001, 0, 0}, []int{s.Published, s.Next, s.Refused, s.Skipped})
	require.Equal(t, want, d.stored(t, "orders"), "in their order, byte for byte")

	require.Equal(t, ExitOK, d.run(t.Context(), args...))
	require.Len(t, d.stored(t, "orders"), 2000, "a repeat is dropped")
	require.Equal(t, ExitOK, d.run(t.Context(), append(args, "--id", "again")...))
	require.Len(t, d.stored(t, "orders"), 4000, "another id is another intention")

	letters, err := d.broker.Letters(t.Context(), "orders")
	require.NoError(t, err)
	found, _, err := letters.Scan(t.Context(), "", 1)
	require.NoError(t, err)
	m := found[0].Message
	require.Equal(t, "k", string(m.Key))
	require.Equal(t, []broker.Header{{Name: "tenant", Value: []byte("a=b")}, {Name: "Content-Type", Value: []byte("application/json")}}, m.Headers)
	require.Equal(t, d.Now().Add(time.Hour), m.ExpiresAt.UTC())
}

func TestPublishStandardInput(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{"kept": nil, "as it comes": {"--id", "run-1"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, `[ {"a":1.0} , 2 ]`, nil)
			require.Equal(t, ExitOK, d.run(t.Context(), append([]string{"publish", "orders", "-f", "-"}, args...)...), d.err.String())
			require.Equal(t, []string{`{"a":1.0}`, "2"}, d.stored(t, "orders"))
		})
	}
	d := newDesk(t, "0123456789", nil)
	require.Equal(t, ExitError, d.run(t.Context(), "publish", "orders", "-f", "-", "--max-size", "9B"))
	require.Contains(t, d.err.String(), "standard input has more than 9 bytes; nothing was published")
}

// stopAfter ends a context when so many batches were published.
type stopAfter struct {
	broker.Broker
	left   int
	cancel context.CancelCauseFunc
	// cut says that the stop reached a batch that was on its way.
	cut bool
}

func (s *stopAfter) Publish(ctx context.Context, messages []broker.Outbound) []error {
	if s.left--; s.left == 0 {
		s.cancel(ErrInterrupted)
		s.cut = ctx.Err() != nil
	}
	return s.Broker.Publish(ctx, messages)
}

// An interruption names the record that was reached, everything before it is
// confirmed, and the command that is given goes on without a double.
func TestPublishInterruptedAndResumed(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := &stopAfter{left: 3, cancel: cancel}
	d := newDesk(t, "", func(b broker.Broker) broker.Broker {
		stop.Broker = b
		return stop
	})
	text, want := lines(10_000)
	file := d.file(t, "orders.ndjson", text)
	require.Equal(t, ExitInterrupted, d.run(ctx, "publish", "orders", "--file", file, "-o", "json"))
	s := d.summary(t)
	require.False(t, s.Complete)
	require.False(t, stop.cut, "a batch comes to its end")
	require.Less(t, s.Published, 10_000)
	require.Equal(t, s.Published+1, s.Next)
	require.Equal(t, want[:s.Published], d.stored(t, "orders"))
	require.Contains(t, d.err.String(), fmt.Sprintf("error: interrupted before record %d of ", s.Next))
	require.Contains(t, d.err.String(), "hint: go on with: "+s.Resume)

	words := strings.Fields(s.Resume)
	require.Equal(t, "redrive", words[0])
	require.Equal(t, ExitOK, d.run(t.Context(), words[1:]...), d.err.String())
	require.Equal(t, want, d.stored(t, "orders"))
}

func TestPublishTriesAgainUnderTheSameID(t *testing.T) {
	t.Parallel()
	// The confirmation is lost, the message is not.
	lost := redrivetest.FailPublish("orders").Nth(1).ApplyThenLose()
	d := newDesk(t, "", func(b broker.Broker) broker.Broker { return redrivetest.Inject(b, lost) })
	text, want := lines(3)
	require.Equal(t, ExitOK, d.run(t.Context(), "publish", "orders", "--file", d.file(t, "o.ndjson", text)), d.err.String())
	require.Equal(t, want, d.stored(t, "orders"))
	require.Contains(t, d.err.String(), "record 1 is not confirmed")
}

// answers replaces the answer for some records.
type answers struct {
	broker.Broker
	errs map[string]error
}

func (a answers) Publish(ctx context.Context, messages []broker.Outbound) []error {
	errs := make([]error, len(messages))
	for i, m := range messages {
		if err := a.errs[string(m.Body)]; err != nil {
			errs[i] = err
			continue
		}
		errs[i] = a.Broker.Publish(ctx, []broker.Outbound{m})[0]
	}
	return errs
}

func TestPublishRefused(t *testing.T) {
	t.Parallel()
	d := newDesk(t, "", func(b broker.Broker) broker.Broker {
		return answers{b, map[string]error{`{"id":2}`: fmt.Errorf("no: %w", &broker.TooLargeError{Size: 9, Limit: 8})}}
	})
	text, _ := lines(3)
	require.Equal(t, ExitPartial, d.run(t.Context(), "publish", "orders", "--file", d.file(t, "o.ndjson", text), "-o", "json"))
	s := d.summary(t)
	require.Equal(t, []int{2, 1, 4}, []int{s.Published, s.Refused, s.Next})
	require.Equal(t, 2, s.Problems[0].Record)
	require.True(t, s.Problems[0].Refused)
	require.Equal(t, []string{`{"id":1}`, `{"id":3}`}, d.stored(t, "orders"))
	require.Contains(t, d.err.String(), "record 2 (byte 9) refused: ")
	require.Contains(t, d.err.String(), "error: 1 of 3 records were not published")
}

// A queue that is full stops at the first record that is not stored.
func TestPublishStopsAtAnError(t *testing.T) {
	t.Parallel()
	d := newDesk(t, "", func(b broker.Broker) broker.Broker {
		return answers{b, map[string]error{`{"id":2}`: fmt.Errorf("no: %w", broker.ErrFull)}}
	})
	text, _ := lines(3)
	require.Equal(t, ExitError, d.run(t.Context(), "publish", "orders", "--file", d.file(t, "o.ndjson", text), "-o", "json"))
	s := d.summary(t)
	require.Equal(t, 2, s.Next)
	require.False(t, s.Complete)
	require.Contains(t, d.err.String(), "record 2 (byte 9) of ")
	require.Contains(t, d.err.String(), "--from 2")
}

func TestPublishMalformed(t *testing.T) {
	t.Parallel()
	d := newDesk(t, "", nil)
	file := d.file(t, "o.ndjson", "1\n{bad\n3\n")
	require.Equal(t, ExitError, d.run(t.Context(), "publish", "orders", "--file", file))
	require.Equal(t, []string{"1"}, d.stored(t, "orders"), "nothing after it is published")
	require.Contains(t, d.err.String(), "o.ndjson: record 2 (byte 2): the line is not one JSON value")
	require.Contains(t, d.err.String(), "--skip-invalid")
	require.Contains(t, d.err.String(), "--from 2")

	require.Equal(t, ExitPartial, d.run(t.Context(), "publish", "orders", "--file", file, "--skip-invalid"))
	require.Equal(t, []string{"1", "3"}, d.stored(t, "orders"))
	require.Contains(t, d.err.String(), "record 2 (byte 2) skipped: ")

	file = d.file(t, "o.json", `[1, 2, x]`)
	require.Equal(t, ExitError, d.run(t.Context(), "publish", "orders", "--file", file, "--skip-invalid", "--id", "array"))
	require.Equal(t, []string{"1", "3", "1", "2"}, d.stored(t, "orders"))
	require.Contains(t, d.err.String(), "nothing after a malformed record can be read")
}

func TestPublishFileThatChanges(t *testing.T) {
	t.Parallel()
	d := newDesk(t, "", nil)
	text, _ := lines(100_000)
	file := d.file(t, "o.ndjson", text)
	d.Services.Connect = func(context.Context, Connecting) (Connection, error) {
		// Its digest is known by now.
		return connection{d.broker}, errors.Join(os.WriteFile(file, []byte(strings.ReplaceAll(text, "1", "2")), 0o600))
	}
	require.Equal(t, ExitError, d.run(t.Context(), "publish", "orders", "--file", file))
	require.Contains(t, d.err.String(), "changed while it was published")
}

func TestPublishCommandLine(t *testing.T) {
	t.Parallel()
	tests := []struct {
		args []string
		code int
		want string
	}{
		{[]string{"orders"}, ExitUsage, "--file is missing"},
		{[]string{"orders.dlq", "-f", "x"}, ExitUsage, "orders.dlq is the name of a dead-letter queue"},
		{[]string{"orders", "-f", "x", "--format", "xml"}, ExitUsage, `unknown format "xml"`},
		{[]string{"orders", "-f", "x", "--from", "0"}, ExitUsage, "--from 0"},
		{[]string{"orders", "-f", "x", "--ttl", "-1s"}, ExitUsage, "--ttl -1s is negative"},
		{[]string{"orders", "-f", "x", "--max-size", "many"}, ExitUsage, "--max-size"},
		{[]string{"orders", "-f", "x", "--header", "novalue"}, ExitUsage, "has no name and value"},
		{[]string{"orders", "-f", "x", "--header", "Redrive=x"}, ExitUsage, "redrive sets headers of this name itself"},
		{[]string{"orders", "-f", "x", "--header", "redrive-expires-at=x"}, ExitUsage, "--ttl"},
		{[]string{"orders", "-f", "x", "--broker", "nope"}, ExitUsage, `there is no broker "nope"`},
		{[]string{"orders", "-f", "/nowhere/at/all"}, ExitError, "no such file"},
		{[]string{}, ExitUsage, "accepts 1 arg"},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, "", nil)
			require.Equal(t, tt.code, d.run(t.Context(), append([]string{"publish"}, tt.args...)...))
			require.Contains(t, d.err.String(), tt.want)
		})
	}
	d := newDesk(t, "", nil)
	require.Equal(t, ExitUsage, d.run(t.Context(), "publish", "orders", "-f", d.file(t, "o.ndjson", "1\n"), "--from", "7"))
	require.Contains(t, d.err.String(), "has only 1 record, so there is nothing from 7 on")
	d = newDesk(t, "", func(b broker.Broker) broker.Broker {
		return answers{b, map[string]error{"1": fmt.Errorf("no stream: %w", broker.ErrUnroutable)}}
	})
	require.Equal(t, ExitError, d.run(t.Context(), "publish", "elsewhere", "-f", d.file(t, "o.ndjson", "1\n")))
	require.Contains(t, d.err.String(), "record 1 (byte 0)")
	require.Contains(t, d.err.String(), "adding a subscription with this source")
}

func TestProgress(t *testing.T) {
	t.Parallel()
	require.Equal(t, "published 500, at record 600, 250/s, 25 %, 6.0s left", progressLine(500, 600, 25, 100, 2*time.Second))
	require.Equal(t, "published 0, at record 0, 0/s", progressLine(0, 0, 0, -1, 0))
	for _, terminal := range []bool{true, false} {
		c := newConsole("", terminal)
		now := c.Now()
		c.App.Now = func() time.Time { return now }
		p := newProgress(&call{App: c.App}, 100)
		p.update(1, 1, 10)
		require.Empty(t, c.err.String(), "not at once")
		now = now.Add(5 * time.Second)
		p.update(2, 2, 20)
		p.update(3, 3, 30)
		p.end()
		require.Equal(t, terminal, strings.HasPrefix(c.err.String(), "\r\x1b[K"))
		require.Equal(t, terminal, strings.HasSuffix(c.err.String(), "left\r\x1b[K"), "the line is taken away")
		require.Equal(t, 1, strings.Count(c.err.String(), "published"))
	}
}

func TestShellWord(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"": "''", "a.b/c=1": "a.b/c=1", "a b": "'a b'", "it's": `'it'\''s'`, "$(x)": "'$(x)'", "é": "'é'"} {
		require.Equal(t, want, shellWord(in))
	}
}
