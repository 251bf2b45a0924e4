package envelope

import (
	"encoding/base64"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/redrive-dev/redrive/broker"
	"github.com/redrive-dev/redrive/failure"
)

const (
	// Version is the version of the wire format that Encode writes, and the
	// highest that Decode reads.
	Version = 1
	// DefaultLimit is the largest encoded envelope, in bytes, where a broker sets
	// no smaller one.
	DefaultLimit = 8 << 10
	// MinLimit is the smallest limit that Encode accepts, in bytes. After all
	// trimming an envelope fits into it whenever its identities (id, key,
	// incarnation, origin, publish id, correlation id, source, group, position, body
	// digest, replay id, reason, signature and claim check) take at most 400 bytes when
	// encoded: whatever the rest holds, it needs no more than what is left.
	MinLimit = 1 << 10
	// MaxEncoded is the largest envelope that Encode writes, whatever its limit,
	// and that Decode reads, in bytes.
	MaxEncoded = 64 << 10
)

// Encode returns the wire form of the envelope: one line of printable ASCII,
// canonical (equal envelopes give equal bytes), and never longer than limit or
// MaxEncoded. What is too large is trimmed as the package documentation
// describes, and recorded in Trimmed.
//
// The second result is the envelope as written: trimmed, times and delays cut to
// whole milliseconds, times in UTC, counts between zero
// and 2^31-1, categories outside the closed set as none. Decode of the bytes returns exactly that. The argument is
// not changed and shares no slice with the result but the values of Control.
//
// The error is a *SizeError if limit is below MinLimit or the identities alone
// do not fit; there is no other.
func Encode(e Envelope, limit int) ([]byte, Envelope, error) {
	if limit < MinLimit {
		return nil, e, &SizeError{Limit: limit, Need: MinLimit}
	}
	most := min(limit, MaxEncoded)
	written := canonical(e)
	precut(&written, most)
	raw := appendEnvelope(make([]byte, 0, sizeHint(&written)), &written)
	if len(raw) > most {
		if raw = trim(raw, &written, most); len(raw) > most {
			return nil, e, &SizeError{Limit: most, Need: len(raw)}
		}
	}
	return raw, written, nil
}

// sizeHint guesses the encoded size from above for usual content, so that the
// buffer is allocated once.
func sizeHint(e *Envelope) int {
	return 768 + 192*len(e.Attempts) + 64*len(e.Control) + len(e.Message) + len(e.Stack) + len(e.Stack)/8
}

// canonical returns a copy that survives the wire unchanged.
func canonical(e Envelope) Envelope {
	e.Count, e.Uncounted = wireCount(e.Count), wireCount(e.Uncounted)
	e.MaxAttempts, e.Replays = wireCount(e.MaxAttempts), wireCount(e.Replays)
	e.FirstFailure, e.LastFailure, e.Exhausted = wireTime(e.FirstFailure), wireTime(e.LastFailure), wireTime(e.Exhausted)
	e.Category = wireCategory(e.Category)
	e.Trimmed = wireTrimmed(e.Trimmed)
	e.Control = append([]broker.Header(nil), e.Control...)
	attempts := append([]Attempt(nil), e.Attempts...)
	for i := range attempts {
		a := &attempts[i]
		a.At = wireTime(a.At)
		a.Category = wireCategory(a.Category)
		a.Delay = max(a.Delay, 0).Truncate(time.Millisecond)
		a.Replay = wireCount(a.Replay)
	}
	e.Attempts = attempts
	return e
}

// maxCount is the largest count on the wire, so that readers with integers of 32
// bits can take part.
const maxCount = math.MaxInt32

func wireCount(n int) int { return min(max(n, 0), maxCount) }

func wireTime(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return time.UnixMilli(t.UnixMilli()).UTC()
}

func wireCategory(c failure.Category) failure.Category {
	if c > failure.Crash {
		return failure.None
	}
	return c
}

// wireTrimmed keeps the names that the format knows, each once.
func wireTrimmed(names []string) []string {
	var kept []string
	for _, name := range names {
		if cuttable(name) && !slices.Contains(kept, name) {
			kept = append(kept, name)
		}
	}
	return kept
}

// appendEnvelope appends the wire form. The order of the fields is public.
func appendEnvelope(b []byte, e *Envelope) []byte {
	b = append(b, `{"v":`...)
	b = strconv.AppendInt(b, Version, 10)
	b = appendText(b, "id", e.ID)
	b = appendText(b, "key", e.Key)
	b = appendText(b, "inc", e.Incarnation)
	b = appendText(b, "org", e.Origin)
	b = appendText(b, "pub", e.PublishID)
	b = appendText(b, "cor", e.CorrelationID)
	b = appendText(b, "src", e.Source)
	b = appendText(b, "grp", e.Group)
	b = appendText(b, "pos", e.Position)
	b = appendText(b, "bd", e.BodyDigest)
	b = appendInt(b, "n", int64(e.Count))
	b = appendInt(b, "un", int64(e.Uncounted))
	b = appendInt(b, "max", int64(e.MaxAttempts))
	b = appendInt(b, "rp", int64(e.Replays))
	b = appendText(b, "rid", e.ReplayID)
	b = appendTime(b, "ff", e.FirstFailure)
	b = appendTime(b, "lf", e.LastFailure)
	b = appendTime(b, "ex", e.Exhausted)
	b = appendText(b, "cat", e.Category.String())
	b = appendText(b, "why", string(e.Reason))
	b = appendText(b, "et", e.ErrorType)
	b = appendText(b, "sig", e.Signature)
	b = appendText(b, "cc", e.ClaimCheck)
	b = appendList(b, "trm", e.Trimmed, func(b []byte, name *string) []byte { return appendQuoted(b, *name) })
	b = appendList(b, "att", e.Attempts, appendAttempt)
	b = appendList(b, "ctl", e.Control, appendHeader)
	b = appendText(b, "msg", e.Message)
	b = appendText(b, "stk", e.Stack)
	return append(b, '}')
}

func appendAttempt(b []byte, a *Attempt) []byte {
	b = append(b, '{')
	b = appendTime(b, "t", a.At)
	b = appendText(b, "cat", a.Category.String())
	b = appendText(b, "et", a.ErrorType)
	b = appendText(b, "sig", a.Signature)
	b = appendInt(b, "d", a.Delay.Milliseconds())
	b = appendText(b, "w", a.Worker)
	b = appendText(b, "un", a.Uncounted)
	b = appendInt(b, "rp", int64(a.Replay))
	return append(b, '}')
}

func appendHeader(b []byte, h *broker.Header) []byte {
	b = append(b, '{')
	b = appendText(b, "h", h.Name)
	switch {
	case h.Value == nil:
	case printable(h.Value):
		b = appendName(b, "v")
		b = appendQuoted(b, string(h.Value))
	default:
		b = appendName(b, "b")
		b = append(b, '"')
		b = base64.StdEncoding.AppendEncode(b, h.Value)
		b = append(b, '"')
	}
	return append(b, '}')
}

// printable reports whether a value reads better as text than as base64.
func printable(value []byte) bool {
	for _, c := range value {
		if c < 0x20 || c == 0x7f {
			return false
		}
	}
	return utf8.Valid(value)
}

func appendName(b []byte, name string) []byte {
	if b[len(b)-1] != '{' {
		b = append(b, ',')
	}
	b = append(b, '"')
	b = append(b, name...)
	return append(b, '"', ':')
}

func appendText(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	return appendQuoted(appendName(b, name), value)
}

func appendInt(b []byte, name string, value int64) []byte {
	if value == 0 {
		return b
	}
	return strconv.AppendInt(appendName(b, name), value, 10)
}

func appendTime(b []byte, name string, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	return strconv.AppendInt(appendName(b, name), t.UnixMilli(), 10)
}

func appendList[T any](b []byte, name string, list []T, element func([]byte, *T) []byte) []byte {
	if len(list) == 0 {
		return b
	}
	b = append(appendName(b, name), '[')
	for i := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = element(b, &list[i])
	}
	return append(b, ']')
}
