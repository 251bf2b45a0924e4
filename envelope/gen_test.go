package envelope_test

import (
	"time"

	"pgregory.net/rapid"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/envelope"
	"github.com/redrive-dev/redrive/failure"
)

// text draws short strings: readable ones, any runes, and any bytes.
func text(most int) *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.StringMatching(`[a-zA-Z0-9 ./:_-]{0,20}`),
		rapid.StringN(0, most, most),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, most), func(b []byte) string { return string(b) }),
	)
}

func instants() *rapid.Generator[time.Time] {
	return rapid.Custom(func(t *rapid.T) time.Time {
		if rapid.Bool().Draw(t, "zero") {
			return time.Time{}
		}
		return time.Unix(rapid.Int64Range(-1e10, 1e12).Draw(t, "s"), rapid.Int64Range(0, 1e9-1).Draw(t, "ns"))
	})
}

func categories() *rapid.Generator[failure.Category] {
	return rapid.SampledFrom(append(failure.Categories(), failure.None))
}

func attempts() *rapid.Generator[envelope.Attempt] {
	return rapid.Custom(func(t *rapid.T) envelope.Attempt {
		return envelope.Attempt{
			At: instants().Draw(t, "at"), Category: categories().Draw(t, "category"),
			ErrorType: text(40).Draw(t, "type"), Signature: text(40).Draw(t, "signature"),
			Delay:  time.Duration(rapid.Int64Min(0).Draw(t, "delay")),
			Worker: text(30).Draw(t, "worker"), Uncounted: text(12).Draw(t, "uncounted"),
			Replay: rapid.IntRange(0, 1<<31-1).Draw(t, "replay"),
		}
	})
}

func headers() *rapid.Generator[broker.Header] {
	return rapid.Custom(func(t *rapid.T) broker.Header {
		h := broker.Header{Name: text(20).Draw(t, "name")}
		switch rapid.IntRange(0, 2).Draw(t, "value") {
		case 0:
			h.Value = rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "bytes")
		case 1:
			h.Value = []byte(text(200).Draw(t, "text"))
		}
		return h
	})
}

// envelopes draws envelopes whose strings have at most identity bytes for names
// and long bytes for messages and stacks.
func envelopes(identity, long int) *rapid.Generator[envelope.Envelope] {
	return rapid.Custom(func(t *rapid.T) envelope.Envelope {
		id := text(identity)
		count := rapid.IntRange(0, 1<<31-1)
		return envelope.Envelope{
			ID: id.Draw(t, "id"), Key: id.Draw(t, "key"), Incarnation: id.Draw(t, "inc"), PublishID: id.Draw(t, "pub"),
			CorrelationID: id.Draw(t, "cor"), Source: id.Draw(t, "src"), Group: id.Draw(t, "grp"), Position: id.Draw(t, "pos"),
			BodyDigest: id.Draw(t, "bd"), Attempts: rapid.SliceOfN(attempts(), 0, 12).Draw(t, "att"),
			Count: count.Draw(t, "n"), Uncounted: count.Draw(t, "un"), MaxAttempts: count.Draw(t, "max"), Replays: count.Draw(t, "rp"),
			FirstFailure: instants().Draw(t, "ff"), LastFailure: instants().Draw(t, "lf"), Exhausted: instants().Draw(t, "ex"),
			Category: categories().Draw(t, "cat"), Reason: envelope.Reason(id.Draw(t, "why")),
			ErrorType: text(100).Draw(t, "et"), Message: text(long).Draw(t, "msg"), Stack: text(long).Draw(t, "stk"),
			Signature: id.Draw(t, "sig"), ClaimCheck: id.Draw(t, "cc"), ReplayID: id.Draw(t, "rid"),
			Control: rapid.SliceOfN(headers(), 0, 8).Draw(t, "ctl"),
			Trimmed: rapid.SliceOfN(rapid.SampledFrom([]string{"stack", "history", "message", "control", "other"}), 0, 4).Draw(t, "trm"),
		}
	})
}
