package idempotency

import (
	"strconv"
	"strings"
)

const prefixReplay = "rp:"

// ReplayPublishID returns the publish id of one replay of a letter,
// "rp:<letter>:<ordinal>". The ordinal counts the intended replays of this
// letter, so that a second, wanted replay is not taken for a repeat of the
// first. Percent signs and unprintable bytes in the letter's id are escaped.
func ReplayPublishID(letter string, ordinal int) string {
	return prefixReplay + escape(letter, "") + ":" + strconv.Itoa(ordinal)
}

// ParseReplayPublishID returns the letter and the ordinal that
// [ReplayPublishID] made an id of; ok is false for an id that it did not make.
func ParseReplayPublishID(id string) (letter string, ordinal int, ok bool) {
	rest, ok := strings.CutPrefix(id, prefixReplay)
	colon := strings.LastIndexByte(rest, ':')
	if !ok || colon < 0 {
		return "", 0, false
	}
	ordinal, err := strconv.Atoi(rest[colon+1:])
	letter, unescaped := unescape(rest[:colon])
	if err != nil || !unescaped || ReplayPublishID(letter, ordinal) != id {
		return "", 0, false
	}
	return letter, ordinal, true
}

// unescape is the inverse of escape.
func unescape(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", false
		}
		c, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		b.WriteByte(byte(c))
		i += 2
	}
	return b.String(), true
}
