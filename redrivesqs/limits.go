package redrivesqs

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
	"unicode/utf8"
)

// Limits of SQS, as its developer guide gives them. They are checked here, since
// servers that speak its protocol do not check all of them.
const (
	// maxMessage is the largest message, attributes included, and the largest batch.
	maxMessage = 1 << 20
	// maxBinary is the largest body that needs base64, with room for its attributes.
	maxBinary = maxMessage / 4 * 3
	// maxBatch is the number of entries of one batch, and of messages of one receive.
	maxBatch = 10
	// maxAttributes is the number of attributes of one message.
	maxAttributes = 10
	// maxDelay is the longest DelaySeconds.
	maxDelay = 900 * time.Second
	// maxVisibility is the longest time that a message can be invisible after a
	// receive, all changes together.
	maxVisibility = 43_200 * time.Second
	// maxToken is the length of a group id and of a deduplication id.
	maxToken = 128
	// dedupeWindow is how long a FIFO queue remembers a deduplication id.
	dedupeWindow = 5 * time.Minute
	// maxRetention is the longest that a queue keeps a message.
	maxRetention = 14 * 24 * time.Hour
)

// A delivery can be held and then released for a time, both together no longer than
// maxVisibility: the limit is split, so that what is promised of each holds.
const (
	maxHold    = 11 * time.Hour
	maxRelease = maxVisibility - maxHold
)

// wholeSeconds rounds up: never early.
func wholeSeconds(d time.Duration) int32 {
	if d <= 0 {
		return 0
	}
	return int32((d + time.Second - 1) / time.Second)
}

// visibility is the longest visibility timeout that may be asked for now, at most
// wish, for a message received at the given time. It reports false if there is less
// than a second left of the 12 hours.
func visibility(wish time.Duration, received, now time.Time) (seconds int32, whole bool) {
	left := maxVisibility - now.Sub(received)
	if wish <= left {
		return wholeSeconds(min(wish, maxVisibility)), true
	}
	// Rounded down: a second too many is refused.
	return int32(max(left, 0) / time.Second), false
}

// delaySeconds splits a wait into what SQS delays, in whole seconds, and what is
// left to the receiver.
func delaySeconds(wait time.Duration) int32 {
	return int32(min(max(wait, 0), maxDelay) / time.Second)
}

// textual reports whether SQS takes s as text: not empty, UTF-8, and only characters
// of XML 1.0.
func textual(s []byte) bool {
	if len(s) == 0 {
		return false
	}
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			if c < ' ' && c != '\t' && c != '\n' && c != '\r' {
				return false
			}
			i++
			continue
		}
		r, size := utf8.DecodeRune(s[i:])
		if r == utf8.RuneError && size == 1 || r == 0xfffe || r == 0xffff {
			return false
		}
		i += size
	}
	return true
}

// tokenLegal reports whether SQS takes s as a group id or deduplication id: letters,
// digits and ASCII punctuation.
func tokenLegal(s string) bool {
	if s == "" || len(s) > maxToken {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

const digestPrefix = "sha256-"

// dedupeID makes a publish id into a deduplication id: itself, or its digest where
// SQS does not take it.
func dedupeID(id string) string {
	if tokenLegal(id) && (len(id) < len(digestPrefix) || id[:len(digestPrefix)] != digestPrefix) {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return digestPrefix + hex.EncodeToString(sum[:])
}
