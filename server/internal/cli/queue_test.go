package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/failure"
	"github.com/redrive-dev/redrive/redrivetest"
)

// dead puts a message into the dead-letter queue of orders.
func (d *desk) dead(t *testing.T, body string, headers ...broker.Header) {
	t.Helper()
	encoded, _, err := envelope.Encode(envelope.Envelope{
		ID: "id-1", Key: "key-1", Source: "orders", BodyDigest: envelope.Digest([]byte(body)), Count: 2, MaxAttempts: 5,
		Category: failure.Schema, Reason: envelope.ReasonPermanent, ErrorType: "http 422", Message: "no customer\x1b[2J",
		LastFailure: d.Now().Add(-90 * time.Second),
	}, 8192)
	require.NoError(t, err)
	for _, err := range d.broker.Publish(t.Context(), []broker.Outbound{{Queue: "orders.dlq", Body: []byte(body), Headers: headers, Envelope: encoded}}) {
		require.NoError(t, err)
	}
}

// ready makes the queues of orders.
func (d *desk) ready(t *testing.T) {
	t.Helper()
	require.NoError(t, d.broker.Topology().Ensure(t.Context(), broker.Spec{Source: "orders"}))
}

func TestQueueList(t *testing.T) {
	t.Parallel()
	d := newDesk(t, "", nil)
	d.ready(t)
	d.dead(t, "x")
	require.Equal(t, ExitOK, d.run(t.Context(), "queue", "ls"), d.err.String())
	require.Regexp(t, `(?m)^QUEUE +KIND +GROUPS +DEPTH +IN-FLIGHT +DELAYED +OLDEST *$`, d.out.String())
	require.Regexp(t, `(?m)^orders\.dlq +dead-letter +- +1 +0 +0 +`, d.out.String())
	require.Equal(t, ExitOK, d.run(t.Context(), "queue", "ls", "--jq", `.[] | select(.depth > 0) | .name, .kind, .depth, .broker`))
	require.Equal(t, "orders.dlq\ndead-letter\n1\nlocal\n", d.out.String())
	require.Equal(t, ExitUsage, d.run(t.Context(), "queue", "ls", "--broker", "nope"))

	// One queue without figures does not hide the others.
	inner := d.Services.Connect
	d.Services.Connect = func(ctx context.Context, c Connecting) (Connection, error) {
		conn, err := inner(ctx, c)
		return connection{redrivetest.Inject(conn, redrivetest.FailStats("orders.dlq"))}, err
	}
	require.Equal(t, ExitError, d.run(t.Context(), "queue", "ls"))
	require.Regexp(t, `(?m)^orders\.dlq +dead-letter +- +\? +\? +\? +-`, d.out.String())
	require.Contains(t, d.err.String(), "error: broker local: ")

	// Nothing has ever run: that is no error for a list.
	d.Services.NoData = errors.New("never ran")
	d.Services.Connect = func(context.Context, Connecting) (Connection, error) {
		return nil, fmt.Errorf("broker local: %w", d.Services.NoData)
	}
	require.Equal(t, ExitOK, d.run(t.Context(), "queue", "ls", "-o", "json"))
	require.Equal(t, "[]\n", d.out.String())
	require.Contains(t, d.err.String(), "broker local: never ran; there are no queues")
	require.Equal(t, ExitError, d.run(t.Context(), "queue", "peek", "orders"))
}

func TestQueuePeek(t *testing.T) {
	t.Parallel()
	d := newDesk(t, "", nil)
	d.ready(t)
	hostile := "\x1b]0;owned\x07line\nposition     forged\r\u202e\u2028\xff\\"
	d.dead(t, hostile, broker.Header{Name: "evil\x1b[31m", Value: []byte("v\nheader       forged: x")})
	d.dead(t, strings.Repeat("é", 400))
	require.Equal(t, ExitOK, d.run(t.Context(), "queue", "peek", "orders.dlq"), d.err.String())
	out := d.out.String()
	require.NotContains(t, out, "\x1b")
	require.NotContains(t, out, "\u202e")
	require.NotContains(t, out, "\nposition     forged")
	require.NotContains(t, out, "\nheader       forged")
	require.Contains(t, out, `\x1b]0;owned\x07line\nposition     forged\r\u202e\u2028\xff\\`)
	for _, want := range []string{"failed as    schema, permanent\n", "attempts     2 of 5\n", "error type   http 422\n", `error        no customer\x1b[2J`, "last failed  2026-11-21T23:58:30Z (1m30s ago)\n", "idempotency  key-1\n"} {
		require.Contains(t, out, want)
	}
	require.Contains(t, out, strings.Repeat("é", 256)+" … (288 bytes more)\n")
	require.Equal(t, ExitOK, d.run(t.Context(), "queue", "peek", "orders.dlq", "-o", "wide"))
	require.Contains(t, d.out.String(), strings.Repeat("é", 400)+"\n")

	require.Equal(t, ExitOK, d.run(t.Context(), "queue", "peek", "orders.dlq", "-o", "json"))
	var rows []letterRow
	require.NoError(t, json.Unmarshal(d.out.Bytes(), &rows))
	require.Len(t, rows, 2)
	require.Nil(t, rows[0].Body, "it is not UTF-8")
	require.NotNil(t, rows[0].BodyBase64)
	require.Equal(t, strings.Repeat("é", 400), *rows[1].Body)
	require.True(t, rows[0].Envelope.Matches)
	require.Equal(t, "schema", rows[0].Envelope.Category)

	require.Equal(t, ExitOK, d.run(t.Context(), "queue", "peek", "orders.dlq", "-n", "1", "-o", "name"))
	cursor := strings.TrimSpace(d.err.String()[strings.LastIndex(d.err.String(), "--from ")+len("--from "):])
	first := d.out.String()
	require.Equal(t, ExitOK, d.run(t.Context(), "queue", "peek", "orders.dlq", "--from", cursor, "-o", "name"))
	require.NotEqual(t, first, d.out.String())
	require.Equal(t, 1, strings.Count(d.out.String(), "\n"))

	require.Equal(t, ExitOK, d.run(t.Context(), "queue", "peek", "orders"))
	require.Contains(t, d.err.String(), "orders: no messages")
	require.Equal(t, ExitError, d.run(t.Context(), "queue", "peek", "nope"))
	require.Contains(t, d.err.String(), `error: there is no queue "nope"`)
	require.Equal(t, ExitUsage, d.run(t.Context(), "queue", "peek", "orders", "-n", "0"))
	require.Equal(t, ExitUsage, d.run(t.Context(), "queue", "peek", "orders", "--bytes", "-1"))
	require.Equal(t, ExitUsage, d.run(t.Context(), "queue", "peek"))
}

// modal is a broker on which looking has an effect.
type modal struct {
	broker.Broker
	mode broker.Mode
}

type modalLetters struct {
	broker.Letters
	mode broker.Mode
}

func (m modal) Letters(ctx context.Context, queue string) (broker.Letters, error) {
	letters, err := m.Broker.Letters(ctx, queue)
	return modalLetters{letters, m.mode}, err
}

func (m modalLetters) Mode() broker.Mode { return m.mode }

func TestPeekNamesItsEffects(t *testing.T) {
	t.Parallel()
	desk := func(mode broker.Mode) *desk {
		d := newDesk(t, "", func(b broker.Broker) broker.Broker { return modal{b, mode} })
		d.ready(t)
		d.dead(t, "x")
		return d
	}
	d := desk(broker.PeekCounts)
	require.Equal(t, ExitUsage, d.run(t.Context(), "queue", "peek", "orders.dlq"))
	require.Empty(t, d.out.String())
	require.Contains(t, d.err.String(), "counts as a delivery")
	require.Contains(t, d.err.String(), "--accept-effects")
	require.Equal(t, ExitOK, d.run(t.Context(), "queue", "peek", "orders.dlq", "--accept-effects"))

	d = desk(broker.DrainOnly)
	for _, args := range [][]string{{"queue", "peek", "orders.dlq"}, {"queue", "peek", "orders.dlq", "--accept-effects"}} {
		require.Equal(t, ExitUsage, d.run(t.Context(), args...), "there is no way to look that takes nothing")
		require.Empty(t, d.out.String())
		require.Contains(t, d.err.String(), "can only be read by taking them out")
	}
}

// An envelope that a producer copied from another message says so.
func TestPeekCopiedEnvelope(t *testing.T) {
	t.Parallel()
	encoded, _, err := envelope.Encode(envelope.Envelope{Source: "orders", BodyDigest: envelope.Digest([]byte("other"))}, 8192)
	require.NoError(t, err)
	l := broker.Letter{Message: broker.Message{Body: []byte("this"), Envelope: encoded}}
	row := newLetterRow("q", &l)
	require.False(t, row.Envelope.Matches)
	require.Contains(t, row.people(0, 10, time.Time{}), "caution")
	l.Message.Envelope = []byte("{broken\x1b")
	row = newLetterRow("q", &l)
	require.NotEmpty(t, row.EnvelopeError)
	require.NotContains(t, row.people(0, 10, time.Time{}), "\x1b")
}

// Whatever bytes come in, what comes out is printable, is on one line, and says
// which bytes they were.
func TestEscaped(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")
		limit := rapid.IntRange(0, 40).Draw(t, "limit")
		text, omitted := preview(b, limit)
		require.True(t, utf8.ValidString(text))
		require.NotContains(t, text, "\n")
		require.Equal(t, text, printable(text), "nothing is left to be taken out")
		require.True(t, omitted == 0 || len(b)-omitted <= limit)
		require.Equal(t, escaped(b[:len(b)-omitted]), text)
	})
	seen := map[string]string{}
	rapid.Check(t, func(t *rapid.T) {
		b := string(rapid.SliceOfN(rapid.SampledFrom([]byte{'a', '\\', 'n', 'x', '\n', 0x1b, 0xff, '0'}), 0, 4).Draw(t, "bytes"))
		if other, ok := seen[escaped([]byte(b))]; ok {
			require.Equal(t, other, b, "two contents look the same")
		}
		seen[escaped([]byte(b))] = b
	})
}

func TestSpan(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-1: "0s", 0: "0s", 1500 * time.Microsecond: "2ms", 1500 * time.Millisecond: "1.5s", 61 * time.Second: "1m01s",
		3700 * time.Second: "1h01m", 25 * time.Hour: "1d01h",
	} {
		require.Equal(t, want, span(d))
	}
}

func TestBrokerFor(t *testing.T) {
	t.Parallel()
	d := newDesk(t, "", nil)
	d.file(t, "redrive.yaml", `
version: 1
brokers: {a: {type: nats, url: "nats://a"}, b: {type: nats, url: "nats://b"}}
subscriptions:
  - {source: orders, broker: a, handler: {sink: discard}}
  - {source: both, broker: a, handler: {sink: discard}}
  - {source: both, broker: b, handler: {sink: discard}}
`)
	asked := ""
	d.Services.Connect = func(_ context.Context, c Connecting) (Connection, error) {
		asked = c.Broker
		return connection{d.broker}, nil
	}
	for _, queue := range []string{"orders", "orders.dlq", "orders.retry", "orders.dlq.quarantine.schema"} {
		asked = ""
		d.run(t.Context(), "queue", "peek", queue)
		require.Equal(t, "a", asked, queue)
	}
	for _, queue := range []string{"both", "unknown"} {
		require.Equal(t, ExitUsage, d.run(t.Context(), "queue", "peek", queue))
		require.Contains(t, d.err.String(), "name it with --broker: a, b")
	}
	d.run(t.Context(), "queue", "peek", "both", "--broker", "b")
	require.Equal(t, "b", asked)
}
