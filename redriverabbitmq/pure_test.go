package redriverabbitmq

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"pgregory.net/rapid"

	"github.com/redrive-dev/redrive/broker"
)

func TestNamesOfUsersStay(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"orders", "orders_2d", "a b/c", "客", strings.Repeat("x", 255), "--", "."} {
		if got := nativeName(name); got != name {
			t.Errorf("%q became %q", name, got)
		}
	}
	for _, name := range []string{"", "amq.gen", "\xff", strings.Repeat("x", 256), hashedPrefix + "x"} {
		if got := nativeName(name); got == name || len(got) > maxQueueName || !strings.HasPrefix(got, hashedPrefix) {
			t.Errorf("%q became %q", name, got)
		}
	}
}

func TestNamesAreInjective(t *testing.T) {
	t.Parallel()
	name := rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-z~.-]{0,300}`), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
	rapid.Check(t, func(t *rapid.T) {
		a, b := name.Draw(t, "a"), name.Draw(t, "b")
		if a != b && nativeName(a) == nativeName(b) {
			t.Fatalf("%q and %q are both %q", a, b, nativeName(a))
		}
		if once := nativeName(a); nativeName(once) == once && once != a {
			t.Fatalf("%q became %q, which is a name of its own", a, once)
		}
	})
}

func TestDelaysAreMadeOfTiers(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rest := time.Duration(rapid.Int64Range(0, int64(100*time.Hour)).Draw(t, "delay"))
		for hops := 0; ; hops++ {
			tier, ok := tierFor(rest)
			if !ok {
				break
			}
			if tier.delay > rest {
				t.Fatalf("a tier of %v for a rest of %v is early", tier.delay, rest)
			}
			if rest -= tier.delay; hops > 130 {
				t.Fatalf("%d tiers and no end", hops)
			}
		}
		if rest >= time.Second {
			t.Fatalf("%v is left, which is too long to hold", rest)
		}
	})
}

func field() *rapid.Generator[any] {
	scalar := rapid.OneOf(
		rapid.Map(rapid.String(), func(v string) any { return v }),
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(v []byte) any { return string(v) }),
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(v []byte) any { return append([]byte{}, v...) }),
		rapid.Map(rapid.Bool(), func(v bool) any { return v }),
		rapid.Map(rapid.Int8(), func(v int8) any { return v }), rapid.Map(rapid.Byte(), func(v byte) any { return v }),
		rapid.Map(rapid.Int16(), func(v int16) any { return v }), rapid.Map(rapid.Uint16(), func(v uint16) any { return v }),
		rapid.Map(rapid.Int32(), func(v int32) any { return v }), rapid.Map(rapid.Uint32(), func(v uint32) any { return v }),
		rapid.Map(rapid.Int64(), func(v int64) any { return v }),
		rapid.Map(rapid.Float32(), func(v float32) any { return v }), rapid.Map(rapid.Float64(), func(v float64) any { return v }),
		rapid.Map(rapid.Int64Range(-1<<40, 1<<40), func(v int64) any { return time.Unix(v, 0).UTC() }),
		rapid.Custom(func(t *rapid.T) any {
			return amqp.Decimal{Scale: rapid.Byte().Draw(t, "scale"), Value: rapid.Int32().Draw(t, "value")}
		}),
		rapid.Just(any(nil)),
	)
	nested := rapid.OneOf(scalar,
		rapid.Map(rapid.SliceOfN(scalar, 0, 3), func(v []any) any { return append([]any{}, v...) }),
		rapid.Map(rapid.MapOfN(rapid.String(), scalar, 0, 3), func(v map[string]any) any { return amqp.Table(v) }))
	return rapid.OneOf(scalar,
		rapid.Map(rapid.SliceOfN(nested, 0, 3), func(v []any) any { return append([]any{}, v...) }),
		rapid.Map(rapid.MapOfN(rapid.String(), nested, 0, 3), func(v map[string]any) any { return amqp.Table(v) }))
}

func TestFieldsSurviveTheirText(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := field().Draw(t, "field")
		text, code := textOf(want)
		got, err := valueOf(text, code)
		if at, ok := got.(time.Time); ok {
			got = at.UTC()
		}
		if err != nil || !reflect.DeepEqual(utc(got), utc(want)) {
			t.Fatalf("%#v became %q of type %q and then %#v, %v", want, text, code, got, err)
		}
	})
	for _, v := range []float64{math.Inf(1), math.Copysign(0, -1), math.NaN()} {
		text, code := textOf(v)
		if got, err := valueOf(text, code); err != nil || math.Float64bits(got.(float64)) != math.Float64bits(v) { //nolint:forcetypeassert // a wrong type fails the test
			t.Errorf("%v became %v, %v", v, got, err)
		}
	}
}

// utc makes times comparable.
func utc(v any) any {
	switch v := v.(type) {
	case time.Time:
		return v.UTC()
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = utc(v[i])
		}
		return out
	case amqp.Table:
		out := amqp.Table{}
		for name := range v {
			out[name] = utc(v[name])
		}
		return out
	}
	return v
}

// foreign makes the message of a producer that knows nothing of redrive.
func foreign() *rapid.Generator[amqp.Delivery] {
	return rapid.Custom(func(t *rapid.T) amqp.Delivery {
		short := rapid.StringMatching(`[a-z]{0,5}`)
		d := amqp.Delivery{
			ContentType: short.Draw(t, "content-type"), CorrelationId: short.Draw(t, "correlation-id"), ReplyTo: short.Draw(t, "reply-to"),
			MessageId: short.Draw(t, "message-id"), Type: short.Draw(t, "type"), AppId: short.Draw(t, "app-id"), ContentEncoding: short.Draw(t, "content-encoding"),
			Priority: rapid.Byte().Draw(t, "priority"), Headers: amqp.Table{}, Body: []byte("body"),
		}
		if rapid.Bool().Draw(t, "has a time") {
			d.Timestamp = time.Unix(rapid.Int64Range(1, 1<<33).Draw(t, "timestamp"), 0).UTC()
		}
		name := rapid.OneOf(rapid.StringMatching(`[a-zA-Z-]{1,9}`), rapid.SampledFrom([]string{"content-type", "type", "timestamp", "redrive-x"}))
		for range rapid.IntRange(0, 5).Draw(t, "fields") {
			if n := name.Draw(t, "name"); !steers(n) && !reserved(n) {
				d.Headers[n] = field().Draw(t, "value")
			}
		}
		return d
	})
}

// TestReplayPublishesWhatTheProducerDid shows that the headers of a letter are
// enough to make the producer's message again, with every property and type.
func TestReplayPublishesWhatTheProducerDid(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := foreign().Draw(t, "message")
		p := encode(decode(&d, "q.retry").message.Headers, own{})
		fields := amqp.Table{}
		for name, v := range p.Headers {
			if !reserved(name) {
				fields[name] = v
			}
		}
		if !reflect.DeepEqual(utc(fields), utc(d.Headers)) {
			t.Fatalf("fields\n%#v\nbecame\n%#v", d.Headers, fields)
		}
		got := []any{p.ContentType, p.ContentEncoding, p.CorrelationId, p.ReplyTo, p.MessageId, p.Timestamp.UTC(), p.Type, p.AppId, p.Priority}
		want := []any{d.ContentType, d.ContentEncoding, d.CorrelationId, d.ReplyTo, d.MessageId, d.Timestamp.UTC(), d.Type, d.AppId, d.Priority}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("properties\n%v\nbecame\n%v", want, got)
		}
	})
}

func received(p amqp.Publishing) *amqp.Delivery {
	return &amqp.Delivery{
		Headers: p.Headers, ContentType: p.ContentType, ContentEncoding: p.ContentEncoding, DeliveryMode: p.DeliveryMode, Priority: p.Priority,
		CorrelationId: p.CorrelationId, ReplyTo: p.ReplyTo, Expiration: p.Expiration, MessageId: p.MessageId, Timestamp: p.Timestamp,
		Type: p.Type, UserId: p.UserId, AppId: p.AppId, Body: p.Body,
	}
}

func TestHeadersArriveAsTheyWerePublished(t *testing.T) {
	t.Parallel()
	header := rapid.Custom(func(t *rapid.T) broker.Header {
		name := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{
			"content-type", "priority", "timestamp", "message-id", "Zulu", "alpha", "redrive-key", "redrive", "redrive-headers", strings.Repeat("n", 300),
		})).Draw(t, "name")
		return broker.Header{Name: name, Value: []byte(rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "1", "text/plain", "2026-01-02T03:04:05Z", "\xff"})).Draw(t, "value"))}
	})
	rapid.Check(t, func(t *rapid.T) {
		headers := slices.DeleteFunc(rapid.SliceOfN(header, 0, 8).Draw(t, "headers"), func(h broker.Header) bool { return steers(h.Name) || h.Name == HeaderTypes })
		key := rapid.SliceOf(rapid.Byte()).Draw(t, "key")
		p := encode(headers, own{id: "pub:1", key: key, envelope: []byte("{}"), time: time.UnixMilli(1_700_000_000_123)})
		p.Body = []byte("body")
		for range 3 {
			d := decode(received(p), "q.retry")
			equal := func(a, b broker.Header) bool { return a.Name == b.Name && bytes.Equal(a.Value, b.Value) }
			if !slices.EqualFunc(d.message.Headers, headers, equal) {
				t.Fatalf("headers %q became %q", headers, d.message.Headers)
			}
			// A producer's own timestamp tells when the message was made.
			stamped := slices.ContainsFunc(headers, func(h broker.Header) bool { return h.Name == propTimestamp })
			if !bytes.Equal(d.message.Key, key) || d.message.Time.UnixMilli() != 1_700_000_000_123 && !stamped || len(d.message.Control) > 0 || d.message.ID != "pub:1" && !hasProperty(headers) {
				t.Fatalf("message %+v", d.message)
			}
			p = d.copy(own{id: "pub:1", envelope: []byte("{}")})
		}
	})
}

func hasProperty(headers []broker.Header) bool {
	return slices.ContainsFunc(headers, func(h broker.Header) bool { return h.Name == propMessageID })
}

func TestWhatSteersIsDataOnCopies(t *testing.T) {
	t.Parallel()
	death := []any{amqp.Table{"queue": "elsewhere", "reason": "rejected"}, amqp.Table{"queue": "q.retry.5s", "reason": "expired"}}
	d := &amqp.Delivery{
		Expiration: "1000", UserId: "u", Exchange: "x", RoutingKey: "a.b", Timestamp: time.Unix(1_700_000_000, 0),
		Headers: amqp.Table{"CC": []any{"c"}, "x-delay": int32(5), "x-death": death, "x-first-death-queue": "elsewhere", "kept": "k"},
	}
	got := decode(d, "q.retry")
	want := map[string]string{
		"CC": `["c"]`, "x-delay": "5", "x-death": `[{"F":{"queue":"elsewhere","reason":"rejected"}}]`, "x-first-death-queue": "elsewhere",
		"expiration": "1000", "user-id": "u", controlExchange: "x", controlRoutingKey: "a.b",
	}
	for _, h := range got.message.Control {
		if want[h.Name] != string(h.Value) {
			t.Errorf("control header %s is %q, want %q", h.Name, h.Value, want[h.Name])
		}
		delete(want, h.Name)
	}
	if len(want) > 0 {
		t.Errorf("control headers are missing: %v", want)
	}
	if !got.message.ExpiresAt.Equal(time.Unix(1_700_000_001, 0)) || string(got.message.Key) != "a.b" {
		t.Errorf("message %+v", got.message)
	}
	p := got.copy(own{id: "1"})
	if p.Expiration != "" || p.UserId != "" || p.DeliveryMode != amqp.Persistent || len(p.Headers) != 4 || p.Headers["kept"] != "k" {
		t.Errorf("copy %+v", p)
	}
	tiersOnly := decode(&amqp.Delivery{Headers: amqp.Table{"x-death": death[1:], "x-last-death-queue": "q.retry.5s"}}, "q.retry")
	if len(tiersOnly.message.Control) > 0 {
		t.Errorf("traces of our own tiers are control headers: %v", tiersOnly.message.Control)
	}
}

func TestLedgerAcknowledgesWhatIsSettledAlone(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var l ledger
		var done, unsettled []uint64
		for tag := range uint64(30) {
			unsettled = append(unsettled, tag+1)
		}
		broken := map[uint64]bool{}
		for len(unsettled) > 0 {
			var batch []uint64
			for range rapid.IntRange(1, 5).Draw(t, "batch") {
				if len(unsettled) == 0 {
					break
				}
				i := rapid.IntRange(0, len(unsettled)-1).Draw(t, "which")
				batch = append(batch, unsettled[i])
				unsettled = slices.Delete(unsettled, i, i+1)
			}
			upTo, single := l.acknowledge(batch)
			for tag := uint64(1); tag <= upTo; tag++ {
				broken[tag] = true
			}
			for _, tag := range single {
				broken[tag] = true
			}
			done = append(done, batch...)
			for _, tag := range unsettled {
				if broken[tag] {
					t.Fatalf("tag %d was acknowledged and is not settled", tag)
				}
			}
			for _, tag := range done {
				if !broken[tag] {
					t.Fatalf("tag %d was settled and is not acknowledged", tag)
				}
			}
		}
	})
}

func TestVersions(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{"3.10.8": false, "4.0.5": true, "4.3.6": true, "4.3.0-rc.1": true, "5.0.0": true, "nonsense": false} {
		s := probe(amqp.Table{"version": version, "product": "RabbitMQ"})
		if got := s.atLeast(4, 0, 5); got != want {
			t.Errorf("%s is at least 4.0.5: %v", version, got)
		}
	}
	if probe(amqp.Table{"version": "3.9.1", "product": "RabbitMQ"}).check() == nil || probe(amqp.Table{"version": "4.0.0", "product": "LavinMQ"}).check() == nil {
		t.Error("a server that cannot be used is not refused")
	}
}

func TestSizeLimitIsLearned(t *testing.T) {
	t.Parallel()
	limit, ok := sizeLimit(&amqp.Error{Code: 406, Reason: "PRECONDITION_FAILED - message size 17000000 is larger than configured max size 16777216"})
	if !ok || limit != 16777216 {
		t.Errorf("limit %d, %v", limit, ok)
	}
}

func TestConfigNamesEveryProblem(t *testing.T) {
	t.Parallel()
	c := Config{URL: "http://user:secret@x", Password: "p", ManagementURL: "nonsense", Heartbeat: 1, ConsumerTimeout: 1, PublishWindow: -1, RetryWindow: -1, MaxMessage: 1, Protocol: "x", Timeout: -1}
	err := c.WithDefaults().Validate()
	for _, field := range []string{"URL", "Password", "ManagementURL", "Heartbeat", "ConsumerTimeout", "PublishWindow", "RetryWindow", "MaxMessage", "Protocol", "Timeout"} {
		if !strings.Contains(fmt.Sprint(err), "redriverabbitmq: "+field+":") {
			t.Errorf("no problem of %s in %v", field, err)
		}
	}
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the password is in %v", err)
	}
	if err := (Config{}).WithDefaults().Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
}
